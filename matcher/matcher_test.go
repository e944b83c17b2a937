package matcher_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vigie/hashing"
	"vigie/hashing/fingerprint"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/memory"
	"vigie/storage/sqlstore"
	"vigie/storage/storagetest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// catalogues are the storages that the tests run over.
var catalogues = map[string]func(testing.TB) storage.Catalogue{
	"memory": func(t testing.TB) storage.Catalogue {
		c, err := memory.New(storage.Options{})
		must(t, err)
		return c
	},
	"sqlite": func(t testing.TB) storage.Catalogue {
		c, err := sqlstore.OpenSQLite(context.Background(), filepath.Join(t.TempDir(), "catalogue.db"), storage.Options{})
		must(t, err)
		return c
	},
}

// overEach runs a test over each storage, on a node of its own with a bank named "bank".
func overEach(t *testing.T, test func(*testing.T, *node)) {
	for name, open := range catalogues {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := start(t, open(t), matcher.Options{})
			n.bank("bank", "block", nil)
			test(t, n)
		})
	}
}

// newNode is a node in memory with a bank named "bank".
func newNode(t testing.TB) *node {
	n := start(t, catalogues["memory"](t), matcher.Options{})
	n.bank("bank", "block", nil)
	return n
}

// Who acts where it does not matter, and somebody else of the same party.
var (
	local   = matcher.Local()
	someone = matcher.Principal{Actor: "someone", Party: storage.Operator, Role: storage.Admin}
)

// node is a matcher whose follower runs, with short ways to use it. Errors end the test.
type node struct {
	*matcher.Matcher
	t         testing.TB
	ctx       context.Context
	catalogue storage.Catalogue
	blobs     *memory.Blobs
	stop      func()
}

// patience is enough on the busiest machine.
const patience = time.Minute

// start closes the catalogue at the end of the test.
func start(t testing.TB, c storage.Catalogue, o matcher.Options) *node {
	if o.Patience == 0 {
		o.Patience = patience
	}
	n := follow(t, c, o)
	t.Cleanup(func() {
		n.stop()
		must(t, c.Close())
	})
	must(t, n.Follower().Await(n.ctx, 0))
	return n
}

func follow(t testing.TB, c storage.Catalogue, o matcher.Options) *node {
	return followWith(t, c, index.New(index.Options{}), o)
}

func followWith(t testing.TB, c storage.Catalogue, x *index.Index, o matcher.Options) *node {
	n := &node{t: t, ctx: context.Background(), catalogue: c, blobs: &memory.Blobs{}}
	n.Matcher = matcher.New(c, n.blobs, pictures, x, o)
	ctx, cancel := context.WithCancel(n.ctx)
	ended := make(chan error, 1)
	go func() { ended <- n.Follower().Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

// wantInput wants an InputError about a field.
func wantInput(t testing.TB, err error, field string) {
	t.Helper()
	var input *matcher.InputError
	if !errors.As(err, &input) || input.Field != field {
		t.Errorf("got error %v, want an InputError about %s", err, field)
	}
}

func equal(t testing.TB, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// radii of a policy.
type radii = map[hashing.Algorithm]int

func (n *node) bank(name, action string, radius radii) storage.Bank {
	n.t.Helper()
	edit := matcher.BankEdit{Name: &name, Action: &action}
	if action == "redirect" {
		edit.Link = ptr(help)
	}
	if radius != nil {
		edit.Radius = &radius
	}
	b, err := n.CreateBank(n.ctx, local, matcher.NewBank{BankEdit: edit})
	must(n.t, err)
	return b
}

// help is where redirects lead.
const help = "https://help.example.org/"

// Check asks for the operator if nobody is said to ask.
func (n *node) Check(ctx context.Context, q matcher.Question) (matcher.Verdict, error) {
	if q.Who == (matcher.Principal{}) {
		q.Who = local
	}
	return n.Matcher.Check(ctx, q)
}

// Flag flags for the operator if nobody is said to.
func (n *node) Flag(ctx context.Context, f matcher.Flagging) (matcher.Flagged, error) {
	if f.Who == (matcher.Principal{}) {
		f.Who = local
	}
	return n.Matcher.Flag(ctx, f)
}

func (n *node) changeBank(name string, edit matcher.BankEdit) storage.Bank {
	n.t.Helper()
	b, err := n.ChangeBank(n.ctx, local, name, edit)
	must(n.t, err)
	return b
}

func (n *node) flag(f matcher.Flagging) matcher.Flagged {
	n.t.Helper()
	if f.Bank == "" {
		f.Bank = "bank"
	}
	out, err := n.Flag(n.ctx, f)
	must(n.t, err)
	if !out.Matchable {
		n.t.Errorf("entry %d is not matchable after a minute", out.Entry.ID)
	}
	return out
}

func (n *node) flagSignals(bank string, signals ...hashing.Signal) matcher.Flagged {
	n.t.Helper()
	return n.flag(matcher.Flagging{Bank: bank, Signals: signals})
}

func (n *node) flagMedia(data []byte) matcher.Flagged {
	n.t.Helper()
	return n.flag(matcher.Flagging{Media: media(data)})
}

func (n *node) retract(id storage.EntryID) {
	n.t.Helper()
	must(n.t, n.Retract(n.ctx, local, id, "a test"))
}

func (n *node) restore(id storage.EntryID) {
	n.t.Helper()
	must(n.t, n.Restore(n.ctx, local, id, "a test"))
}

func (n *node) check(q matcher.Question) matcher.Verdict {
	n.t.Helper()
	v, err := n.Check(n.ctx, q)
	must(n.t, err)
	return v
}

func (n *node) checkSignals(signals ...hashing.Signal) matcher.Verdict {
	n.t.Helper()
	return n.check(matcher.Question{Signals: signals})
}

func (n *node) checkMedia(data []byte) matcher.Verdict {
	n.t.Helper()
	return n.check(matcher.Question{Media: media(data)})
}

func (n *node) entry(id storage.EntryID) storage.Entry {
	n.t.Helper()
	e, _, err := n.Entry(n.ctx, local, id)
	must(n.t, err)
	return e
}

func (n *node) changes() []storage.Change {
	n.t.Helper()
	all, err := n.catalogue.Changes(n.ctx, 0, 1<<20)
	must(n.t, err)
	return all
}

// kinds are those of all changes but the first, which creates the bank.
func (n *node) kinds() (kinds []storage.Kind) {
	n.t.Helper()
	for _, c := range n.changes()[1:] {
		kinds = append(kinds, c.Kind)
	}
	return kinds
}

// matched is the entries that a verdict lists, in its order.
func matched(v matcher.Verdict) (ids []storage.EntryID) {
	for _, f := range v.Matches {
		ids = append(ids, f.Entry)
	}
	return ids
}

func ids(flagged ...matcher.Flagged) (ids []storage.EntryID) {
	for _, f := range flagged {
		ids = append(ids, f.Entry.ID)
	}
	return ids
}

// pictures is the real hasher. It remembers what it has hashed: tests ask for the same few again.
var pictures = &hasher{hasher: fingerprint.New(hashing.DefaultLimits())}

type hasher struct {
	mu     sync.Mutex
	hasher *fingerprint.Hasher
	known  sync.Map // SHA-256 -> hashing.Picture
}

func (h *hasher) Picture(ctx context.Context, data []byte) (hashing.Picture, error) {
	sha := sha256.Sum256(data)
	if p, ok := h.known.Load(sha); ok {
		return p.(hashing.Picture), ctx.Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p, err := h.hasher.Picture(ctx, data)
	if err == nil {
		h.known.Store(sha, p)
	}
	return p, err
}

// invent makes a picture of a test's own invention what its name hashes to.
func (h *hasher) invent(name string, p hashing.Picture) []byte {
	h.known.Store(sha256.Sum256([]byte(name)), p)
	return []byte(name)
}

// hasherFunc is a hasher that does what a test says.
type hasherFunc func(context.Context, []byte) (hashing.Picture, error)

func (f hasherFunc) Picture(ctx context.Context, data []byte) (hashing.Picture, error) {
	return f(ctx, data)
}

func media(data []byte) *hashing.Media {
	m, err := hashing.ReadMedia(bytes.NewReader(data), 1<<30)
	if err != nil {
		panic(err)
	}
	return &m
}

// drawn is a picture of soft spots, another one for each seed.
func drawn(seed uint64) *image.Gray {
	const cells, cell = 8, 40
	rng := rand.New(rand.NewPCG(seed, 1))
	var grid [cells + 1][cells + 1]float64
	for y := range grid {
		for x := range grid[y] {
			grid[y][x] = 255 * rng.Float64()
		}
	}
	img := image.NewGray(image.Rect(0, 0, cells*cell, cells*cell))
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			i, j := y/cell, x/cell
			u, v := float64(y%cell)/cell, float64(x%cell)/cell
			top := grid[i][j]*(1-v) + grid[i][j+1]*v
			bottom := grid[i+1][j]*(1-v) + grid[i+1][j+1]*v
			img.SetGray(x, y, color.Gray{Y: uint8(top*(1-u) + bottom*u)})
		}
	}
	return img
}

func pngOf(img image.Image) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func jpegOf(img image.Image, quality int) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality}); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// signal is the n-th of a row of different signals.
func signal(a hashing.Algorithm, n uint64) hashing.Signal { return storagetest.Signal(a, n) }

// away is a signal at a distance from another.
func away(s hashing.Signal, distance int) hashing.Signal {
	for bit := range distance {
		// Every third bit, so that the number of ones stays about what it was.
		at := bit * 3 % s.Algorithm.Bits()
		s.Value[at/64] ^= 1 << (63 - at%64)
	}
	return s
}

// faulty is a catalogue that fails as long as it is down.
type faulty struct {
	storage.Catalogue
	down atomic.Bool
}

var errDown = errors.New("the catalogue is down")

func (f *faulty) fault() error {
	if f.down.Load() {
		return errDown
	}
	return nil
}

func (f *faulty) Head(ctx context.Context) (storage.Head, error) {
	if err := f.fault(); err != nil {
		return storage.Head{}, err
	}
	return f.Catalogue.Head(ctx)
}

func (f *faulty) Changes(ctx context.Context, after uint64, limit int) ([]storage.Change, error) {
	if err := f.fault(); err != nil {
		return nil, err
	}
	return f.Catalogue.Changes(ctx, after, limit)
}

func (f *faulty) View(ctx context.Context, fn func(storage.Reader) error) error {
	if err := f.fault(); err != nil {
		return err
	}
	return f.Catalogue.View(ctx, fn)
}

func (f *faulty) Update(ctx context.Context, fn func(storage.Writer) error) error {
	if err := f.fault(); err != nil {
		return err
	}
	return f.Catalogue.Update(ctx, fn)
}

// golden compares text with a file in testdata, or writes it there.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is out of date; look at the difference, then run with -update (-file +now):\n%s", path, diff)
	}
}

// told collects what events tell, from whichever goroutine.
type told[T any] struct {
	mu  sync.Mutex
	all []T
}

func (l *told[T]) add(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, v)
}

func (l *told[T]) list() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[:len(l.all):len(l.all)]
}

func ptr[T any](v T) *T { return &v }
