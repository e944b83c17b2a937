package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"vigie/hashing"
	"vigie/hashing/sandbox"
	"vigie/internal/guard"
	"vigie/rescan"
)

const nodeGroup = "node"

// Config is every setting. Flags, environment (VIGIE_*) and the file say the same things; a flag wins
// over the environment, the environment over the file.
type Config struct {
	ConfigFile string `name:"config" help:"JSON file of settings, named as the flags." placeholder:"FILE" env:"VIGIE_CONFIG"`

	Data    string `help:"Data folder (${default}); belongs to one process at a time." default:"vigie-data" placeholder:"DIR" env:"VIGIE_DATA"`
	Server  string `help:"URL of a node; wins over --data." placeholder:"URL" env:"VIGIE_SERVER"`
	KeyFile string `help:"File that holds the key for --server; or set VIGIE_KEY." placeholder:"FILE" env:"VIGIE_KEY_FILE"`

	Database   Database `group:"node" help:"Catalogue in PostgreSQL, such as postgres://vigie@db.example/vigie, with the password in PGPASSWORD or PGPASSFILE; empty: in the data folder." placeholder:"URL" env:"VIGIE_DATABASE"`
	Media      string   `group:"node" help:"Where media are kept: a folder, or a bucket, such as s3://bucket/prefix?endpoint=https://s3.example; empty: folder media of the data folder." placeholder:"DIR|URL" env:"VIGIE_MEDIA"`
	MediaCache Bytes    `group:"node" help:"Disk for media of a bucket that were read, in the data folder; 0B keeps none." default:"1GiB" env:"VIGIE_MEDIA_CACHE"`

	Listen         string        `group:"node" help:"Address to serve HTTP on." default:"127.0.0.1:8740" env:"VIGIE_LISTEN"`
	ListenPrivate  string        `group:"node" help:"Address for metrics and profiles, which are for the operator alone, such as 127.0.0.1:8741; empty: metrics on --listen, no profiles." env:"VIGIE_LISTEN_PRIVATE"`
	TlsCert        string        `group:"node" help:"Serve HTTPS with this certificate chain (PEM); read again when it changes." placeholder:"FILE" env:"VIGIE_TLS_CERT"` //nolint:revive // TLSCert would be --tls-cert to kong alone
	TlsKey         string        `group:"node" help:"Key of --tls-cert (PEM)." placeholder:"FILE" env:"VIGIE_TLS_KEY"`                                                    //nolint:revive // as above
	TrustedProxies Networks      `group:"node" help:"Networks of proxies that are believed when they say for whom they ask (X-Forwarded-For)." placeholder:"CIDR" env:"VIGIE_TRUSTED_PROXIES"`
	Rate           float64       `group:"node" help:"Requests a second that a key may make, lines of batches included; more are answered 429; 0: no limit." default:"0" env:"VIGIE_RATE"`
	Burst          int           `group:"node" help:"Requests that a key may make at once after a rest, with --rate; 0: as many as in a second." default:"0" env:"VIGIE_BURST"`
	SearchWait     time.Duration `group:"node" help:"How long a check of signals may wait for its turn; beyond it is answered 503." default:"1s" env:"VIGIE_SEARCH_WAIT"`
	DecodeWait     time.Duration `group:"node" help:"The same for a picture; a video may wait four times as long." default:"5s" env:"VIGIE_DECODE_WAIT"`
	MaxBytes       Bytes         `group:"node" help:"Largest file accepted." default:"64MiB" env:"VIGIE_MAX_BYTES"`
	MaxSide        int           `group:"node" help:"Longest side of a picture, in pixels." default:"30000" env:"VIGIE_MAX_SIDE"`
	MaxPixels      int           `group:"node" help:"Most pixels of a picture." default:"60000000" env:"VIGIE_MAX_PIXELS"`
	MaxVideoBytes  Bytes         `group:"node" help:"Largest video file accepted." default:"256MiB" env:"VIGIE_MAX_VIDEO_BYTES"`
	MaxVideoTime   time.Duration `group:"node" help:"How much of a video is looked at." default:"4h" env:"VIGIE_MAX_VIDEO_TIME"`
	Ffmpeg         string        `group:"node" help:"The program ffmpeg, which decodes videos: a path, a name to look for in PATH, or none for no videos." default:"ffmpeg" env:"VIGIE_FFMPEG"`
	VideoDecoders  int           `group:"node" help:"Videos decoded at a time; 0: one for each processor." default:"0" env:"VIGIE_VIDEO_DECODERS"`
	VideoMemory    Bytes         `group:"node" help:"Memory of ffmpeg for one video." default:"1GiB" env:"VIGIE_VIDEO_MEMORY"`
	VideoTimeout   time.Duration `group:"node" help:"Time to decode and hash a video." default:"10m" env:"VIGIE_VIDEO_TIMEOUT"`
	Decoders       int           `group:"node" help:"Decode children; 0: one for each processor." default:"0" env:"VIGIE_DECODERS"`
	DecoderMemory  Bytes         `group:"node" help:"Memory of a decode child." default:"1536MiB" env:"VIGIE_DECODER_MEMORY"`
	DecodeBudget   Bytes         `group:"node" help:"Memory for large pictures, of all decode children together; 0: half of theirs." default:"0B" env:"VIGIE_DECODE_BUDGET"`
	WasmDecoders   int           `group:"node" help:"Decode children for AVIF, 2 GiB each; they end when unused." default:"1" env:"VIGIE_WASM_DECODERS"`
	DecoderTimeout time.Duration `group:"node" help:"Time to decode and hash a picture." default:"10s" env:"VIGIE_DECODER_TIMEOUT"`
	UploadMemory   Bytes         `group:"node" help:"Memory for all uploads held at once; more are answered 503." default:"1GiB" env:"VIGIE_UPLOAD_MEMORY"`
	MemoryLimit    MemoryLimit   `group:"node" help:"Memory of the node, its index included and its decode children not: a size, a share of what the system grants, or none. New rows beyond are answered 507." default:"85%" env:"VIGIE_MEMORY_LIMIT"`
	CopyIndex      bool          `group:"node" help:"Copy the saved index to memory at the start, instead of mapping its files: for file systems whose files get no huge pages." env:"VIGIE_COPY_INDEX"`
	BodyTimeout    time.Duration `group:"node" help:"Time for a request, or a line of a batch, to arrive." default:"1m" env:"VIGIE_BODY_TIMEOUT"`
	BatchLines     int           `group:"node" help:"Most lines of a batch." default:"100000" env:"VIGIE_BATCH_LINES"`
	DrainDelay     time.Duration `group:"node" help:"Time between saying not ready and closing, for a balancer to notice." default:"0s" env:"VIGIE_DRAIN_DELAY"`
	MaxStaleness   time.Duration `group:"node" help:"Not ready while it is longer ago that the node saw the whole log; 0: that alone never makes it not ready." default:"0s" env:"VIGIE_MAX_STALENESS"`
	NodeName       string        `group:"node" help:"What the node is called in the list of nodes; empty: its machine and port." env:"VIGIE_NODE_NAME"`
	Work           bool          `group:"node" help:"Do jobs: webhooks, re-scans. Without it, vigie worker has to do them, elsewhere." default:"true" negatable:"" env:"VIGIE_WORK"`
	AllowOutgoing  Rules         `group:"node" help:"Where webhooks and lists of URLs may lead besides public addresses at ports 80 and 443, and also by plain http: names, addresses or networks, with a port, separated by commas." placeholder:"HOST[:PORT]" env:"VIGIE_ALLOW_OUTGOING"`
	LogLevel       string        `group:"node" help:"Least level of log lines: debug, info, warn, error." enum:"debug,info,warn,error" default:"info" env:"VIGIE_LOG_LEVEL"`

	// Sources are what may be re-scanned. They are in the file alone: they are no one line.
	Sources rescan.Sources `kong:"-"`
}

// keyVariable holds the key itself. There is no flag for it: it would show in the list of processes.
const keyVariable = "VIGIE_KEY"

// Validate names everything that does not fit, at once.
func (c *Config) Validate() error {
	var faults []error
	positive := func(flag string, v int64) {
		if v <= 0 {
			faults = append(faults, fmt.Errorf("--%s: %d; it must be positive", flag, v))
		}
	}
	positive("max-bytes", int64(c.MaxBytes))
	positive("max-side", int64(c.MaxSide))
	positive("max-pixels", int64(c.MaxPixels))
	positive("upload-memory", int64(c.UploadMemory))
	positive("body-timeout", int64(c.BodyTimeout))
	positive("batch-lines", int64(c.BatchLines))
	positive("decoder-timeout", int64(c.DecoderTimeout))
	positive("max-video-bytes", int64(c.MaxVideoBytes))
	positive("max-video-time", int64(c.MaxVideoTime))
	positive("video-memory", int64(c.VideoMemory))
	positive("video-timeout", int64(c.VideoTimeout))
	positive("search-wait", int64(c.SearchWait))
	positive("decode-wait", int64(c.DecodeWait))
	if !(c.Rate >= 0 && c.Rate <= 1e9) {
		faults = append(faults, fmt.Errorf("--rate: %v; accepted are 0 to 1e9 requests a second", c.Rate))
	}
	if c.Burst < 0 {
		faults = append(faults, fmt.Errorf("--burst: %d; it must not be negative", c.Burst))
	}
	if (c.TlsCert == "") != (c.TlsKey == "") {
		faults = append(faults, errors.New("--tls-cert and --tls-key: a certificate needs its key; name both, or neither"))
	}
	if strings.Contains(c.Media, "://") && !inS3(c.Media) {
		faults = append(faults, errors.New("--media: accepted is a folder, or the URL of a bucket such as s3://bucket/prefix?endpoint=https://s3.example"))
	}
	if c.MaxStaleness < 0 {
		faults = append(faults, fmt.Errorf("--max-staleness: %v; it must not be negative", c.MaxStaleness))
	}
	if err := c.Sources.Check(); err != nil {
		faults = append(faults, err)
	}
	if err := c.Database.Validate(); err != nil {
		faults = append(faults, err)
	}
	if c.VideoDecoders < 0 {
		faults = append(faults, fmt.Errorf("--video-decoders: %d; it must not be negative", c.VideoDecoders))
	}
	if len(faults) == 0 {
		faults = append(faults, c.sandbox().Validate())
	}
	if c.Server != "" && !strings.HasPrefix(c.Server, "http://") && !strings.HasPrefix(c.Server, "https://") {
		faults = append(faults, fmt.Errorf("--server: %q; accepted is a URL such as http://127.0.0.1:8740", c.Server))
	}
	if err := errors.Join(faults...); err != nil {
		return usageError{err}
	}
	return nil
}

// nodeName is what the node is called in the list of nodes.
func (c *Config) nodeName() string {
	if c.NodeName != "" {
		return c.NodeName
	}
	host, _ := os.Hostname()
	_, port, _ := net.SplitHostPort(c.Listen)
	return net.JoinHostPort(host, port)
}

func (c *Config) limits() hashing.Limits {
	return hashing.Limits{Bytes: int64(c.MaxBytes), Side: c.MaxSide, Pixels: c.MaxPixels}
}

func (c *Config) sandbox() sandbox.Options {
	o := sandbox.Options{
		Limits: c.limits(), Children: c.Decoders, Memory: int64(c.DecoderMemory), Timeout: c.DecoderTimeout,
		Budget: int64(c.DecodeBudget), Wasm: c.WasmDecoders,
	}
	if hooks := os.Getenv(sandboxTestHooks); hooks != "" {
		o.Env = []string{sandboxTestHooks + "=" + hooks}
	}
	return o
}

// brief is how long a check waits for the catalogue. One in the data folder is as good as the folder itself, and a busy machine
// must not make verdicts less than they are.
func (c *Config) brief() time.Duration {
	if c.Database == "" {
		return 0
	}
	return 250 * time.Millisecond
}

// key is the key for --server: from --key-file, else from the environment.
func (c *app) key() (string, error) {
	if k := os.Getenv(keyVariable); k != "" && !c.set["key-file"] {
		return k, nil
	}
	if c.KeyFile == "" {
		return "", usagef("no key for %s: set %s, or name a file with --key-file", c.Server, keyVariable)
	}
	text, err := os.ReadFile(c.KeyFile)
	if err != nil {
		return "", usagef("--key-file: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// Bytes is a size on the command line: a number with B, KiB, MiB, GiB, or none.
type Bytes int64

var byteUnits = []struct {
	suffix string
	size   int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}}

// UnmarshalText reads "64MiB".
func (b *Bytes) UnmarshalText(text []byte) error {
	for _, u := range byteUnits {
		if digits, ok := strings.CutSuffix(string(text), u.suffix); ok {
			var n int64
			if _, err := fmt.Sscanf(digits+"\n", "%d\n", &n); err != nil || n < 0 || n > 1<<50/u.size {
				break
			}
			*b = Bytes(n * u.size)
			return nil
		}
	}
	return fmt.Errorf("%q is not a size; accepted are numbers with B, KiB, MiB or GiB", text)
}

func (b Bytes) String() string {
	for _, u := range byteUnits {
		if u.size > 0 && int64(b)%u.size == 0 && int64(b) >= u.size {
			return fmt.Sprintf("%d%s", int64(b)/u.size, u.suffix)
		}
	}
	return "0B"
}

// Networks are some, on the command line: 10.0.0.0/8,fd00::/8.
type Networks []netip.Prefix

// UnmarshalText reads networks separated by commas.
func (n *Networks) UnmarshalText(text []byte) error {
	*n = nil
	for one := range strings.SplitSeq(string(text), ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(one))
		if err != nil {
			return fmt.Errorf("%q is not a network; accepted are such as 10.0.0.0/8, separated by commas", one)
		}
		*n = append(*n, p)
	}
	return nil
}

func (n Networks) String() string {
	var all []string
	for _, p := range n {
		all = append(all, p.String())
	}
	return strings.Join(all, ",")
}

// Rules are exceptions from what may be asked of others, on the command line: hooks.internal:8443,10.0.0.0/8.
type Rules []guard.Rule

// UnmarshalText reads rules separated by commas.
func (r *Rules) UnmarshalText(text []byte) error {
	*r = nil
	for one := range strings.SplitSeq(string(text), ",") {
		rule, err := guard.ParseRule(strings.TrimSpace(one))
		if err != nil {
			return err
		}
		*r = append(*r, rule)
	}
	return nil
}

func (r Rules) String() string {
	var all []string
	for _, rule := range r {
		all = append(all, rule.String())
	}
	return strings.Join(all, ",")
}

// resolve gives flags the settings of the file, unless the environment has them.
func resolve(settings map[string]any) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if slices.ContainsFunc(flag.Envs, func(e string) bool { _, set := os.LookupEnv(e); return set }) {
			return nil, nil
		}
		return settings[flag.Name], nil
	})
}

// readConfigFile reads the file that --config or VIGIE_CONFIG names; nil if none is named.
func readConfigFile(args []string) (map[string]any, error) {
	path := os.Getenv("VIGIE_CONFIG")
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--config="); ok {
			path = v
		} else if a == "--config" && i+1 < len(args) {
			path = args[i+1]
		}
	}
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var settings map[string]any
	numbers := json.NewDecoder(bytes.NewReader(text))
	numbers.UseNumber()
	if err := numbers.Decode(&settings); err != nil {
		return nil, fmt.Errorf("%s: not a JSON object of settings: %w", filepath.Base(path), err)
	}
	known := append(settingNames(), sourcesSection)
	for name, v := range settings {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%s: %q is no setting; accepted are %s", filepath.Base(path), name, strings.Join(known, ", "))
		}
		if n, ok := v.(json.Number); ok {
			settings[name] = n.String()
		}
	}
	return settings, nil
}

// sourcesSection is the part of the file that says what may be re-scanned.
const sourcesSection = "sources"

// sources reads the section of the file, if there is one.
func sources(settings map[string]any) (all rescan.Sources, err error) {
	section, ok := settings[sourcesSection]
	if !ok {
		return nil, nil
	}
	text, err := json.Marshal(section)
	if err != nil {
		return nil, err
	}
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&all); err != nil {
		return nil, fmt.Errorf("%s: %w; accepted is an object such as {\"old-posts\": {\"kind\": \"folder\", \"location\": \"/srv/posts\"}}", sourcesSection, err)
	}
	return all, nil
}

// settings are the fields of Config that are flags, but for --config itself.
func settings() []reflect.StructField {
	return slices.DeleteFunc(reflect.VisibleFields(reflect.TypeFor[Config]())[1:], func(f reflect.StructField) bool { return f.Tag.Get("kong") == "-" })
}

func settingNames() []string {
	var names []string
	for _, f := range settings() {
		names = append(names, flagName(f))
	}
	return names
}

// flagName is kong's name for a field: DecoderMemory is decoder-memory.
func flagName(f reflect.StructField) string {
	var b strings.Builder
	for i, r := range f.Name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('-')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

type configCmd struct{}

// setting is one line of vigie config.
type setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Means string `json:"means,omitempty"` // of a zero that leaves the value to the program
	From  string `json:"from"`
}

// Run prints every setting, its value, and where it comes from; keys are masked.
func (configCmd) Run(a *app) error {
	v := reflect.ValueOf(a.Config)
	var all []setting
	for _, f := range settings() {
		value := v.FieldByIndex(f.Index)
		s := setting{Name: flagName(f), Value: fmt.Sprint(value.Interface()), From: "default"}
		if _, means, ok := strings.Cut(f.Tag.Get("help"), "; 0: "); ok && value.IsZero() {
			s.Means = strings.TrimSuffix(means, ".")
		}
		env := f.Tag.Get("env")
		if _, ok := a.file[s.Name]; ok {
			s.From = "file"
		}
		if _, ok := os.LookupEnv(env); ok {
			s.From = "environment (" + env + ")"
		}
		if a.set[s.Name] {
			s.From = "flag"
		}
		all = append(all, s)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Config.Sources)) {
		s := a.Config.Sources[name]
		all = append(all, setting{Name: sourcesSection + "." + name, Value: string(s.Kind) + " " + s.Location, From: "file"})
	}
	if k := os.Getenv(keyVariable); k != "" {
		all = append(all, setting{Name: "key", Value: maskKey(k), From: "environment (" + keyVariable + ")"})
	}
	return list(a.printer, all, []string{"SETTING", "VALUE", "FROM"}, func(s setting) []string {
		return []string{s.Name, cmp.Or(s.Means, s.Value), s.From}
	})
}

// maskKey shows the public part of a key.
func maskKey(k string) string {
	if parts := strings.Split(k, "_"); len(parts) == 3 && parts[0] == "vg" {
		return "vg_" + parts[1] + "_****"
	}
	return "****"
}
