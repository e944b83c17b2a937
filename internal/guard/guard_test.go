package guard

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write golden files anew")

// errThere ends a request whose address has passed: tests call nobody outside.
var errThere = errors.New("would connect")

// hidden is a server on this machine that nobody may reach, unless the operator says so.
type hidden struct {
	*httptest.Server
	hits atomic.Int64
}

func newHidden(t *testing.T) *hidden {
	h := &hidden{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h.hits.Add(1)
		_, _ = io.WriteString(w, "secret")
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hidden) port() string {
	_, port, _ := net.SplitHostPort(h.Listener.Addr().String())
	return port
}

func rules(t *testing.T, texts ...string) (rules []Rule) {
	for _, text := range texts {
		r, err := ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, r)
	}
	return rules
}

// get makes a request, and says in a line what came of it. Whatever is public is not called.
func get(t *testing.T, o Options, target string) (outcome, told string) {
	t.Helper()
	o.connecting = func(at netip.AddrPort) error {
		if !at.Addr().Unmap().IsLoopback() {
			return fmt.Errorf("%w to %s", errThere, at)
		}
		return nil
	}
	o.Timeout = 5 * time.Second
	g := New(o)
	defer g.Close()
	g.client.Transport.(roundTripper).next.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // of the test's servers
	if _, err := g.Check(target); err != nil {
		return "refused by its form", Told(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := g.Client().Do(r)
	var refused *RefusedError
	switch {
	case err == nil:
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return "answered, cut off", Told(err)
		}
		return fmt.Sprintf("answered %d %s", answer.StatusCode, body), ""
	case errors.Is(err, errThere):
		_, after, _ := strings.Cut(err.Error(), errThere.Error())
		return errThere.Error() + after, ""
	case errors.As(err, &refused) && refused.Resolved:
		return "refused at the connection: " + refused.Reason, Told(err)
	case errors.As(err, &refused):
		return "refused on the way", Told(err)
	}
	return "failed", Told(err)
}

// TestForgery is the table of what is tried to make the node ask what only it can reach. What is not marked as allowed by the
// operator must not be answered; the servers behind must not have been reached.
func TestForgery(t *testing.T) {
	secret, front := newHidden(t), http.NewServeMux()
	dns := newNames(t, map[string][]string{
		"public.test":  {"93.184.215.14"},
		"six.test":     {"2606:2800:21f:cb07:6820:80da:af6b:8b2c"},
		"private.test": {"127.0.0.1"}, "ten.test": {"10.0.0.1"}, "meta.test": {"169.254.169.254"}, "ula.test": {"fd00:ec2::254"},
		"mapped.test": {"::ffff:127.0.0.1"}, "nat64.test": {"64:ff9b::7f00:1"}, "nat64-public.test": {"64:ff9b::5db8:d70e"},
		"turning.test": {"93.184.215.14", "127.0.0.1"}, "mixed.test": {"127.0.0.1 10.0.0.1 93.184.215.14"}, "zero.test": {"0.0.0.0"},
		"trusted.test": {"127.0.0.1"}, "other.test": {"127.0.0.1"},
	})
	doors := httptest.NewServer(front)
	t.Cleanup(doors.Close)
	tlsDoors := httptest.NewTLSServer(front)
	t.Cleanup(tlsDoors.Close)
	_, frontPort, _ := net.SplitHostPort(doors.Listener.Addr().String())
	_, tlsPort, _ := net.SplitHostPort(tlsDoors.Listener.Addr().String())
	fill := strings.NewReplacer("{port}", secret.port(), "{front}", frontPort, "{tls}", tlsPort)
	empty := strings.NewReplacer(":"+secret.port(), ":{port}", "%3A"+secret.port(), "%3A{port}", ":"+frontPort, ":{front}", ":"+tlsPort, ":{tls}", "port "+secret.port(), "port {port}")
	front.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Location"] = []string{r.URL.Query().Get("u")}
		w.WriteHeader(http.StatusFound)
	})
	front.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	front.HandleFunc("/huge", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) })

	type attempt struct {
		url   string
		allow string // by the operator
		twice bool
	}
	to := func(target string) attempt {
		escaped := strings.ReplaceAll(url.QueryEscape(target), "%7Bport%7D", "{port}")
		return attempt{url: "http://127.0.0.1:{front}/to?u=" + escaped, allow: "127.0.0.1:{front} 127.0.0.1:{tls}"}
	}
	parts := []struct {
		name string
		try  []attempt
	}{
		{"Addresses", []attempt{
			{url: "http://127.0.0.1/"},
			{url: "http://127.0.0.1:{port}/"},
			{url: "http://127.255.255.254/"},
			{url: "http://0.0.0.0:{port}/"},
			{url: "http://0.1.2.3/"},
			{url: "http://10.0.0.1/"},
			{url: "http://172.16.0.1/"},
			{url: "http://172.31.255.255/"},
			{url: "http://172.32.0.1/"},
			{url: "http://192.168.1.1/"},
			{url: "http://169.254.169.254/latest/meta-data/"},
			{url: "http://100.100.100.200/"},
			{url: "http://100.127.255.255/"},
			{url: "http://100.128.0.1/"},
			{url: "http://168.63.129.16/"},
			{url: "http://192.0.0.192/"},
			{url: "http://192.0.2.1/"},
			{url: "http://198.18.0.1/"},
			{url: "http://198.51.100.1/"},
			{url: "http://203.0.113.1/"},
			{url: "http://192.88.99.1/"},
			{url: "http://224.0.0.1/"},
			{url: "http://240.0.0.1/"},
			{url: "http://255.255.255.255/"},
			{url: "http://93.184.215.14/"},
			{url: "https://93.184.215.14/"},
			{url: "http://93.184.215.14:8080/"},
			{url: "http://93.184.215.14:22/"},
		}},
		{"IPv6 and what it wraps", []attempt{
			{url: "http://[::1]:{port}/"},
			{url: "http://[::]/"},
			{url: "http://[::ffff:127.0.0.1]:{port}/"},
			{url: "http://[::ffff:7f00:1]/"},
			{url: "http://[::127.0.0.1]/"},
			{url: "http://[fe80::1]/"},
			{url: "http://[fe80::1%25eth0]/"},
			{url: "http://[fd00:ec2::254]/"},
			{url: "http://[fc00::1]/"},
			{url: "http://[fec0::1]/"},
			{url: "http://[ff02::1]/"},
			{url: "http://[64:ff9b::127.0.0.1]/"},
			{url: "http://[64:ff9b::a9fe:a9fe]/"},
			{url: "http://[64:ff9b:1::a00:1]/"},
			{url: "http://[2002:7f00:1::]/"},
			{url: "http://[2001:0:7f00:1::]/"},
			{url: "http://[2001:db8::1]/"},
			{url: "http://[3fff::1]/"},
			{url: "http://[100::1]/"},
			{url: "http://[2606:2800:21f:cb07:0:5efe:a00:1]/"},
			{url: "http://[::ffff:93.184.215.14]/"},
			{url: "http://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/"},
		}},
		{"Ways to write", []attempt{
			{url: "http://2130706433/"},
			{url: "http://0x7f000001/"},
			{url: "http://0x7f.1/"},
			{url: "http://017700000001/"},
			{url: "http://0177.0.0.1/"},
			{url: "http://127.1/"},
			{url: "http://127.0.0.1./"},
			{url: "http://127.0.0.01/"},
			{url: "http://public.test./"},
			{url: "http://localhost:{port}/"},
			{url: "http://LOCALHOST/"},
			{url: "http://user@private.test/"},
			{url: "http://public.test:80@127.0.0.1/"},
			{url: "http://public.test#@127.0.0.1/"},
			{url: `http://public.test\@127.0.0.1/`},
			{url: "http:///etc/passwd"},
			{url: "http:127.0.0.1"},
			{url: "//127.0.0.1/"},
			{url: "http://"},
			{url: ""},
			{url: "http://public.test:/"},
			{url: "http://public.test:0/"},
			{url: "http://public.test:99999/"},
			{url: "http://public.test:080/"},
			{url: "http://ⓛocalhost/"},
			{url: "http://127。0。0。1/"},
			{url: "http://%6c%6f%63alhost/"},
			{url: "http://public.test/\r\nX-Injected: 1"},
			{url: "http://public.test/ x"},
			{url: "http://pub\tlic.test/"},
			{url: "http://[127.0.0.1]/"},
			{url: "http://::1/"},
			{url: "file:///etc/passwd"},
			{url: "gopher://127.0.0.1:6379/_INFO"},
			{url: "ftp://public.test/"},
			{url: "HTTPS://public.test/"},
			{url: "unix:///run/x.sock"},
			{url: "http://" + strings.Repeat("a.", 130) + "test/"},
			{url: "http://public.test/" + strings.Repeat("a", MaxURL)},
			{url: "http://-a.test/"},
			{url: "http://a..test/"},
		}},
		{"Names", []attempt{
			{url: "https://public.test/"},
			{url: "https://six.test/"},
			{url: "http://private.test:{port}/"},
			{url: "http://private.test/"},
			{url: "http://ten.test/"},
			{url: "http://meta.test/"},
			{url: "http://ula.test/"},
			{url: "http://mapped.test/"},
			{url: "http://nat64.test/"},
			{url: "http://nat64-public.test/"},
			{url: "http://zero.test/"},
			{url: "http://nowhere.test/"},
			{url: "http://mixed.test/"},
			{url: "http://turning.test/", twice: true},
		}},
		{"Redirects, of a server that the operator allows", []attempt{
			to("http://127.0.0.1:{port}/"), to("http://169.254.169.254/latest/"), to("http://private.test/"), to("http://turning.test/"), to("//10.0.0.1/"),
			to("http://[::ffff:7f00:1]/"), to("http://2130706433/"), to("file:///etc/passwd"), to("gopher://127.0.0.1/"), to("http://user:pw@public.test/"),
			to("https://public.test/x"),
			{url: "http://127.0.0.1:{front}/loop", allow: "127.0.0.1:{front}"},
			{url: "https://127.0.0.1:{tls}/to?u=" + url.QueryEscape("http://public.test/"), allow: "127.0.0.1:{tls}"},
			{url: "https://127.0.0.1:{tls}/to?u=" + url.QueryEscape("https://public.test/"), allow: "127.0.0.1:{tls}"},
			{url: "http://127.0.0.1:{front}/huge", allow: "127.0.0.1:{front}"},
		}},
		{"What the operator allows", []attempt{
			{url: "http://127.0.0.1:{port}/", allow: "127.0.0.1:{port}"},
			{url: "http://127.0.0.1:{port}/", allow: "127.0.0.0/8:{port}"},
			{url: "http://127.0.0.1:{port}/", allow: "127.0.0.0/8"},
			{url: "http://private.test:{port}/", allow: "127.0.0.0/8:{port}"},
			{url: "http://[::ffff:127.0.0.1]:{port}/", allow: "127.0.0.0/8:{port}"},
			{url: "http://trusted.test:{port}/", allow: "trusted.test:{port}"},
			{url: "http://TRUSTED.test:{port}/", allow: "Trusted.Test:{port}"},
			{url: "http://other.test:{port}/", allow: "trusted.test:{port}"},
			{url: "http://127.0.0.1:{port}/", allow: "trusted.test:{port}"},
			{url: "http://10.0.0.1/", allow: "10.0.0.0/8"},
			{url: "http://10.0.0.1:8080/", allow: "10.0.0.0/8"},
			{url: "http://10.0.0.1:8080/", allow: "10.0.0.0/8:8080"},
			{url: "http://11.0.0.1:8080/", allow: "10.0.0.0/8:8080"},
			{url: "http://[fd12::1]:8443/", allow: "[fd12::/16]:8443"},
			{url: "http://[fd13::1]:8443/", allow: "[fd12::/16]:8443"},
			{url: "https://public.test:8443/", allow: "0.0.0.0/0:8443"},
			{url: "http://127.0.0.1:{port}/", allow: "0.0.0.0/0:{port}"},
			{url: "http://private.test:{port}/", allow: "0.0.0.0/0:{port}"},
			{url: "http://private.test:{port}/", allow: "0.0.0.0/1:{port}"},
			{url: "http://169.254.169.254:8443/", allow: "0.0.0.0/0:8443"},
			{url: "http://169.254.169.254/", allow: "0.0.0.0/0"},
			{url: "http://[::1]:8443/", allow: "[::/0]:8443"},
			{url: "http://[64:ff9b::7f00:1]:8443/", allow: "[64:ff9b::/96]:8443"},
			{url: "http://[64:ff9b::5db8:d70e]:8443/", allow: "[64:ff9b::/96]:8443"},
			{url: "http://[64:ff9b::a00:1]:8443/", allow: "[64:ff9b::a00:0/104]:8443"},
			{url: "http://[64:ff9b::7f00:1]:8443/", allow: "[64:ff9b::/32]:8443"},
			{url: "http://[2606:2800::1]:8443/", allow: "[2000::/3]:8443"},
			{url: "http://[2001:db8::1]:8443/", allow: "[2000::/3]:8443"},
			{url: "http://[2001:db8::1]:8443/", allow: "[2001:db8::/40]:8443"},
			{url: "https://public.test:8443/", allow: "public.test:8443"},
			{url: "https://public.test:8444/", allow: "public.test:8443"},
		}},
	}
	var table strings.Builder
	table.WriteString("What is asked for, what the operator allows (+), what came of it, and what is told (>) to whoever gave the URL.\n")
	for _, part := range parts {
		fmt.Fprintf(&table, "\n%s\n", part.name)
		for _, a := range part.try {
			before, allow := secret.hits.Load(), fill.Replace(a.allow)
			o := Options{Allow: rules(t, strings.Fields(allow)...), Resolver: dns.resolver(), Redirects: 3}
			times := 1
			if a.twice {
				times = 2
			}
			for range times {
				outcome, told := get(t, o, fill.Replace(a.url))
				shown := fmt.Sprintf("%.100q", a.url)
				if a.allow != "" {
					shown += " +" + a.allow
				}
				fmt.Fprintf(&table, "  %-64s %s\n", shown, empty.Replace(outcome))
				if told != "" {
					fmt.Fprintf(&table, "  %-64s > %s\n", "", empty.Replace(told))
				}
				reached := secret.hits.Load() > before
				if reached != (outcome == "answered 200 secret") || reached && a.allow == "" {
					t.Errorf("%s with %q: %s, and the server behind was reached: %t", a.url, a.allow, outcome, reached)
				}
				if a.allow == "" && strings.HasPrefix(outcome, "answered") {
					t.Errorf("%s: %s", a.url, outcome)
				}
			}
		}
	}
	golden(t, "testdata/forgery.golden", table.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", name, got)
	}
}

// TestRebinding: the name is looked up once for a connection, and what was looked up is what is judged.
func TestRebinding(t *testing.T) {
	t.Parallel()
	secret := newHidden(t)
	dns := newNames(t, map[string][]string{"turning.test": {"93.184.215.14", "127.0.0.1"}})
	var judged []netip.AddrPort
	g := New(Options{Resolver: dns.resolver(), Allow: rules(t, "93.184.215.14:"+secret.port()), connecting: func(at netip.AddrPort) error {
		judged = append(judged, at)
		return errThere
	}})
	for range 3 {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://turning.test:"+secret.port()+"/", http.NoBody)
		answer, err := g.Client().Do(r)
		if err == nil {
			answer.Body.Close()
			t.Fatal("it is answered")
		}
	}
	if len(judged) != 1 || judged[0].Addr().String() != "93.184.215.14" || secret.hits.Load() != 0 {
		t.Errorf("let through to %v; the server behind was reached %d times", judged, secret.hits.Load())
	}
}

// TestNothingIsCarriedAcross: what is sent to one host does not reach another by a redirect, and the environment's proxy is not asked.
func TestNothingIsCarriedAcross(t *testing.T) {
	proxied := newHidden(t)
	t.Setenv("HTTP_PROXY", proxied.URL)
	t.Setenv("http_proxy", proxied.URL)
	var got []http.Header
	second := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.Header.Clone()) }))
	defer second.Close()
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Clone())
		http.Redirect(w, r, second.URL, http.StatusFound)
	}))
	defer first.Close()
	g := New(Options{Allow: rules(t, strings.TrimPrefix(first.URL, "http://"), strings.TrimPrefix(second.URL, "http://")), Redirects: 1})
	defer g.Close()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, first.URL+"/secret-path", http.NoBody)
	for _, name := range []string{"Authorization", "Cookie", "Vigie-Signature", "X-Anything", "Accept"} {
		r.Header.Set(name, "sent")
	}
	answer, err := g.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if len(got) != 2 || got[0].Get("Vigie-Signature") != "sent" {
		t.Fatalf("got %v", got)
	}
	for name := range got[1] {
		if name != "Accept" && name != "User-Agent" {
			t.Errorf("%s is carried to another host: %q", name, got[1].Get(name))
		}
	}
	if proxied.hits.Load() != 0 {
		t.Error("the proxy of the environment was asked")
	}
}

// TestBodies: a body is read up to the bound, not cut silently.
func TestBodies(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]error{0: nil, 99: nil, 100: nil, 101: ErrTooLong, 10_000: ErrTooLong} {
		b := &bounded{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", size))), left: 100}
		text, err := io.ReadAll(b)
		if !errors.Is(err, want) || len(text) != min(size, 100) {
			t.Errorf("%d bytes: read %d, %v; want %v", size, len(text), err, want)
		}
	}
}

// TestTime: a server that sends a byte now and then does not hold a request open.
func TestTime(t *testing.T) {
	t.Parallel()
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	}))
	defer slow.Close()
	g := New(Options{Allow: rules(t, strings.TrimPrefix(slow.URL, "http://")), Timeout: 100 * time.Millisecond, MaxBody: 1 << 30})
	defer g.Close()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, slow.URL, http.NoBody)
	answer, err := g.Client().Do(r)
	if err == nil {
		_, err = io.ReadAll(answer.Body)
		answer.Body.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"hooks.internal": "hooks.internal", "Hooks.Internal:8443": "hooks.internal:8443", "10.1.2.3": "10.1.2.3/32", "10.1.2.3:80": "10.1.2.3/32:80",
		"10.1.2.3/8": "10.0.0.0/8", "10.0.0.0/8:8080": "10.0.0.0/8:8080", "::1": "::1/128", "[::1]": "::1/128", "[::1]:80": "[::1/128]:80",
		"fd00::/8": "fd00::/8", "[fd00::/8]:1": "[fd00::/8]:1", "::ffff:10.0.0.1": "10.0.0.1/32",
	} {
		r, err := ParseRule(text)
		if err != nil || r.String() != want {
			t.Errorf("%s: got %v, %v; want %s", text, r, err, want)
		}
		if again, err := ParseRule(r.String()); err != nil || again != r {
			t.Errorf("%s is read back as %v, %v", r, again, err)
		}
	}
	for _, text := range []string{"", ":80", "a:", "a:0", "a:65536", "a:x", "a b", "*", "*.example.org", "10.0.0.0/33", "[::1", "127.1", "0x7f000001", "http://a", "a/b", "fe80::1%eth0"} {
		if r, err := ParseRule(text); err == nil {
			t.Errorf("%q is accepted: %v", text, r)
		}
	}
}

// FuzzCheck: no URL panics; one that is accepted is written and read again as the same, and its literal address is a public one.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{"https://example.org/a?b=c", "http://[::1]/", "http://127.0.0.1:80/", "http://a@b/", "http://0x7f.1/", "http://[64:ff9b::1]:443"} {
		f.Add(seed)
	}
	g := New(Options{})
	f.Fuzz(func(t *testing.T, text string) {
		u, err := g.Check(text)
		if err != nil {
			if Told(err) == "" {
				t.Error("nothing is told")
			}
			return
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil && Public(addr) != nil {
			t.Errorf("%q is accepted", text)
		}
		if _, err := g.Check(u.String()); err != nil {
			t.Errorf("%q is written as %q: %v", text, u, err)
		}
	})
}

// TestOwnAddress: what this machine is called in public is not called by itself, unless a rule says this very address.
func TestOwnAddress(t *testing.T) {
	t.Parallel()
	own := func() ([]net.Addr, error) {
		return []net.Addr{
			&net.IPNet{IP: net.IPv4(93, 184, 215, 14), Mask: net.CIDRMask(24, 32)},
			&net.IPNet{IP: net.ParseIP("2606:2800:21f::1"), Mask: net.CIDRMask(64, 128)},
		}, nil
	}
	dns := newNames(t, map[string][]string{
		"own.test": {"93.184.215.14"}, "nat64.test": {"64:ff9b::5db8:d70e"}, "six.test": {"2606:2800:21f::1"}, "beside.test": {"93.184.215.15"},
	})
	for _, test := range []struct {
		url, allow string
		refused    bool
	}{
		{"https://own.test/", "", true},
		{"https://93.184.215.14/", "", true},
		{"https://nat64.test/", "", true},
		{"https://six.test/", "", true},
		{"https://own.test:8443/", "0.0.0.0/0:8443", true},
		{"https://own.test:8443/", "93.184.215.0/24:8443", true},
		{"https://beside.test/", "", false},
		{"https://own.test:8443/", "93.184.215.14:8443", false},
		{"https://own.test/", "93.184.215.14", false},
		{"https://own.test/", "own.test", false},
	} {
		outcome, told := get(t, Options{own: own, Resolver: dns.resolver(), Allow: rules(t, strings.Fields(test.allow)...)}, test.url)
		want := errThere.Error()
		if test.refused {
			want = "refused at the connection: the address is this machine's own"
		}
		if !strings.HasPrefix(outcome, want) || test.refused != (told == unreachable) {
			t.Errorf("%s with %q: %s, told %q", test.url, test.allow, outcome, told)
		}
	}
	// Who may not ask for the addresses tries to have them.
	g := New(Options{own: func() ([]net.Addr, error) { return nil, errors.New("not permitted") }})
	for addr, want := range map[string]bool{"127.0.0.1": true, "93.184.215.14": false} {
		if got := g.isOwn(t.Context(), netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is our own: %t", addr, got)
		}
	}
}

// TestSecure: where requests have to be secure, http is for what the operator has named.
func TestSecure(t *testing.T) {
	t.Parallel()
	dns := newNames(t, map[string][]string{"public.test": {"93.184.215.14"}, "ten.test": {"10.0.0.1"}})
	for _, test := range []struct{ url, allow, want string }{
		{"https://public.test/", "", "would connect"},
		{"http://public.test/", "", "refused by its form"},
		{"http://93.184.215.14/", "", "refused by its form"},
		{"http://public.test/", "public.test", "would connect"},
		{"http://public.test/", "other.test", "refused by its form"},
		{"http://public.test/", "public.test:8080", "refused by its form"},
		{"http://public.test:8080/", "public.test:8080", "would connect"},
		{"http://public.test/", "10.0.0.0/8", "refused at the connection: http, which"}, // the name might have led there
		{"https://public.test/", "10.0.0.0/8", "would connect"},
		{"http://ten.test/", "10.0.0.0/8", "would connect"},
		{"http://93.184.215.14/", "93.184.215.14", "would connect"},
		{"http://public.test/", "0.0.0.0/0:80", "would connect"},
	} {
		o := Options{Secure: true, Resolver: dns.resolver(), Allow: rules(t, strings.Fields(test.allow)...)}
		if outcome, _ := get(t, o, test.url); !strings.HasPrefix(outcome, test.want) {
			t.Errorf("%s with %q: %s", test.url, test.allow, outcome)
		}
	}
}
