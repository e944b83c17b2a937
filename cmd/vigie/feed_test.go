package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	v1 "vigie/api/v1"
	"vigie/storage"
)

// TestFeed has readers of every kind follow the log while it grows: a fast one, a slow one that the node cuts off, one whose
// connection breaks all the time, one that asks for page after page, and one of another party. All read the same, each
// change once and none left out; the other party reads placeholders in its place, and verifies the log all the same.
// VIGIE_FEED_CHANGES sets how many changes there are (100,000 is the full proof).
func TestFeed(t *testing.T) {
	t.Parallel()
	usual := uint64(10_000)
	if underRace {
		usual = 2000
	}
	total := int(fromEnv(t, "VIGIE_FEED_CHANGES", usual))
	const bodyTime = time.Second // to take what was written
	n := newFed(t, bodyTime)
	n.lists(total / 2)

	var target atomic.Int64
	reader := func(name, key string, transport *http.Transport) *feedReader {
		return &feedReader{name: name, node: n.served, key: key, target: &target, client: &http.Client{Transport: transport}}
	}
	fast := reader("fast", n.admin, &http.Transport{})
	slow := reader("slow", n.admin, &http.Transport{DialContext: (&net.Dialer{Control: narrow}).DialContext})
	broken := reader("broken", n.admin, &http.Transport{})
	broken.breaks = time.Second * time.Duration(max(total, 20_000)) / 100_000
	poller := reader("poller", n.admin, &http.Transport{})
	party := reader("party", n.shop, &http.Transport{})
	party.keep = true
	cuts := max(2, total/20_000)
	slow.pause = func(read int) {
		if read%500 == 50 && slow.cuts < cuts {
			time.Sleep(2 * bodyTime) // which is what makes it slow
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience+5*time.Millisecond*time.Duration(total))
	defer cancel()
	var all sync.WaitGroup
	for _, r := range []*feedReader{fast, slow, broken, poller, party} {
		all.Go(func() {
			follow := r.stream
			if r == poller {
				follow = r.poll
			}
			if err := follow(ctx); err != nil {
				t.Errorf("%s, after %d changes: %v", r.name, len(r.sums), err)
			}
		})
	}
	t.Cleanup(all.Wait)
	n.lists(total / 2)
	n.stir()
	target.Store(n.head().Seq + 1)
	n.do("PUT", n.shopAdmin, "/v1/subscriptions/shared", v1.NewSubscription{}) // the last change
	all.Wait()
	if t.Failed() {
		return
	}

	for _, r := range []*feedReader{slow, broken, poller} {
		if !slices.Equal(r.sums, fast.sums) {
			t.Errorf("%s has read something else", r.name)
		}
	}
	cutOff := 1
	if underRace { // so few changes may fit into the system's buffers
		cutOff = 0
	}
	for r, least := range map[*feedReader]int{slow: cutOff, broken: 2} {
		if r.cuts < least {
			t.Errorf("%s was cut off %d times", r.name, r.cuts)
		}
	}
	n.redacted(fast, party)
	head, err := storage.VerifyLog(t.Context(), &readLog{head: n.head(), log: party.log, changes: party.changes}, nil)
	if err != nil || int64(head.Seq) != target.Load() {
		t.Errorf("the log that %s has read, up to %d: %v", party.name, head.Seq, err)
	}

	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	row(w, "READER", "CHANGES", "PLACEHOLDERS", "CONNECTIONS", "CUT OFF", "")
	for _, r := range []*feedReader{fast, slow, broken, poller, party} {
		row(w, r.name, fmt.Sprint(len(r.sums)), fmt.Sprint(r.placeholders), fmt.Sprint(r.connections), fmt.Sprint(r.cuts), "")
	}
	_ = w.Flush()
	t.Logf("\n%s", table.String())
	if code, err := n.stop(); code != 0 || err != nil || n.stderr.String() != "" {
		t.Errorf("the node ended with %d: %v; it said: %s", code, err, n.stderr.String())
	}
}

// fed is a node with a bank of its own, one that it shares with a party, and keys of both.
type fed struct {
	*testing.T
	*served
	random                 *rand.Rand
	admin, shop, shopAdmin string
	shared                 storage.BankID
	shopID                 storage.PartyID
}

func newFed(t *testing.T, bodyTime time.Duration) *fed {
	n := &fed{T: t, random: rand.New(rand.NewPCG(1, 2))}
	n.served = serve(t, filepath.Join(t.TempDir(), "data"), nil, "--log-level", "error", "--body-timeout", bodyTime.String())
	n.admin = n.key(t, v1.Admin)
	n.shopID = storage.PartyID(made[v1.Party](n, n.admin, "/v1/parties", v1.NewParty{Name: "shop"}).Id)
	name := "shop"
	n.shop = made[v1.CreatedKey](n, n.admin, "/v1/keys", v1.NewKey{Name: "uploads", Role: v1.Platform, Party: &name}).Secret
	n.shopAdmin = made[v1.CreatedKey](n, n.admin, "/v1/keys", v1.NewKey{Name: "people", Role: v1.Admin, Party: &name}).Secret
	made[v1.Bank](n, n.admin, "/v1/banks", v1.NewBank{Name: "closed"})
	n.shared = storage.BankID(made[v1.Bank](n, n.admin, "/v1/banks", v1.NewBank{Name: "shared", Members: &[]string{"shop"}}).Id)
	return n
}

func made[T any](n *fed, key, path string, in any) T {
	n.Helper()
	out, err := post[T](n.served, key, path, in)
	if err != nil {
		n.Fatal(err)
	}
	return out
}

func (n *fed) do(method, key, path string, in any) {
	n.Helper()
	text, _ := json.Marshal(in)
	if _, err := ask[any](n.request(key, method, path, "application/json", bytes.NewReader(text))); err != nil {
		n.Fatal(err)
	}
}

// lists flags lists of new entries into both banks at once, so that their changes are mixed.
func (n *fed) lists(entries int) {
	n.Helper()
	var both sync.WaitGroup
	for _, bank := range []string{"closed", "shared"} {
		var list bytes.Buffer
		for range entries / 2 {
			fmt.Fprintf(&list, `{"signals":[{"algorithm":"sha256","value":"%016x%016x%016x%016x"}],"note":"it's <one> of the list & nobody's"}`+"\n",
				n.random.Uint64(), n.random.Uint64(), n.random.Uint64(), n.random.Uint64())
		}
		both.Go(func() {
			report, err := ask[v1.ListReport](n.request(n.admin, "POST", "/v1/banks/"+bank+"/entries:batch", "application/x-ndjson", &list))
			if err != nil || report.Created != entries/2 {
				n.Errorf("the list: %+v %v", report, err)
			}
		})
	}
	both.Wait()
}

// stir makes changes of other kinds, some of which concern the other party.
func (n *fed) stir() {
	n.Helper()
	for i := range 20 {
		n.do("POST", n.admin, fmt.Sprintf("/v1/entries/%d/retract", i*37+1), v1.Reason{Reason: "for the feed"})
		n.do("PUT", n.shopAdmin, "/v1/subscriptions/shared", v1.NewSubscription{Cap: &v1.Radius{"pdq": i}})
		n.do("POST", n.shopAdmin, "/v1/keys", v1.NewKey{Name: "another", Role: v1.Platform})
		what := fmt.Sprint("as of ", i)
		n.do("PATCH", n.admin, "/v1/banks/"+[]string{"closed", "shared"}[i%2], v1.BankChange{Description: &what})
	}
}

func (n *fed) head() v1.Head {
	n.Helper()
	page, err := get[v1.Changes](n.served, n.admin, "/v1/changes?limit=1")
	if err != nil {
		n.Fatal(err)
	}
	return page.Head
}

// redacted holds what the party has read against what the operator has: the same, or a placeholder with its place alone.
func (n *fed) redacted(whole, party *feedReader) {
	n.Helper()
	for i, c := range whole.changes {
		subject, _, _ := strings.Cut(string(c.Kind), ".")
		may := c.Bank == n.shared
		switch subject {
		case "party", "subscription":
			may = c.Party == n.shopID
		case "key":
			may = false // a platform's key reads of none
		}
		got := party.changes[i]
		place := storage.Change{Seq: c.Seq, At: c.At, Kind: storage.Redacted, Root: c.Root, Leaf: c.Leaf, Record: []byte{}}
		switch {
		case may && party.sums[i] != whole.sums[i]:
			n.Errorf("change %d, %s, reads otherwise for %s: %+v", c.Seq, c.Kind, party.name, got)
		case !may && !reflect.DeepEqual(got, place):
			n.Errorf("change %d, %s, is not for %s, which reads %+v", c.Seq, c.Kind, party.name, got)
		}
		if n.Failed() {
			return
		}
	}
}

// narrow makes a connection for which the system keeps little, so that who does not read holds up who writes.
func narrow(_, _ string, c syscall.RawConn) error {
	var err error
	fault := c.Control(func(fd uintptr) {
		err = errors.Join(
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<10),
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1<<10),
		)
	})
	return cmp.Or(fault, err)
}

// feedReader follows the log up to a change, and holds it to be dense.
type feedReader struct {
	name, key string
	node      *served
	client    *http.Client
	target    *atomic.Int64    // the last change that there will be; 0: it is not known yet
	pause     func(read int)   // nil, or what it does after so many changes of a connection
	breaks    time.Duration    // how long its connections hold from their first change on; 0: always
	keep      bool             // changes as a whole
	sums      []storage.Hash   // of the texts of all changes
	changes   []storage.Change // with their leaves; without their texts, if not kept

	log, cursor                     string // the last id
	connections, cuts, placeholders int
}

func (r *feedReader) complete() bool {
	return len(r.sums) > 0 && int64(len(r.sums)) == r.target.Load()
}

// take takes the next change.
func (r *feedReader) take(text []byte) error {
	var out v1.Change
	err := json.Unmarshal(text, &out)
	if err != nil {
		return err
	}
	c, err := changeIn(out)
	if err != nil {
		return err
	}
	if c.Seq != uint64(len(r.sums))+1 {
		return fmt.Errorf("change %d comes after %d", c.Seq, len(r.sums))
	}
	if c.Kind == storage.Redacted {
		r.placeholders++
	}
	r.sums = append(r.sums, sha256.Sum256(text))
	if !r.keep {
		leaf := storage.LeafOf(c.Record)
		c.Leaf, c.Record, c.Body, c.Private, c.Salt = &leaf, nil, nil, nil, nil
	}
	r.changes = append(r.changes, c)
	return nil
}

// stream follows the log by Server-Sent Events, and resumes by the last id when the connection breaks.
func (r *feedReader) stream(ctx context.Context) error {
	for !r.complete() && ctx.Err() == nil {
		if err := r.connect(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (r *feedReader) connect(ctx context.Context) error {
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	request, err := http.NewRequestWithContext(ctx, "GET", r.node.url+"/v1/changes", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+r.key)
	request.Header.Set("Accept", "text/event-stream")
	if r.cursor != "" {
		request.Header.Set("Last-Event-ID", r.cursor)
	}
	r.connections++
	answer, err := r.client.Do(request)
	if err != nil {
		return r.cut(err)
	}
	defer answer.Body.Close()
	if overloaded(answer) {
		sleep(ctx, time.Second) // as it says
		return nil
	}
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		text, _ := io.ReadAll(answer.Body)
		return fmt.Errorf("%s: %s", answer.Status, text)
	}
	in := bufio.NewReader(answer.Body)
	for read := 0; !r.complete(); {
		e, err := readEvent(in)
		if err != nil {
			return r.cut(err)
		}
		if e.id != "" {
			r.cursor = e.id
		}
		if e.data == "" {
			continue
		}
		if err := r.take([]byte(e.data)); err != nil {
			return err
		}
		last, kind := r.changes[len(r.changes)-1], "change"
		if last.Kind == storage.Redacted {
			kind = "redacted"
		}
		if r.log == "" {
			r.log, _, _ = strings.Cut(e.id, ":")
		}
		if e.id != fmt.Sprintf("%s:%d:%x", r.log, last.Seq, last.Root[:8]) || e.name != kind {
			return fmt.Errorf("change %d, %s, is the event %q, %q", last.Seq, last.Kind, e.id, e.name)
		}
		if read++; read == 1 && r.breaks > 0 {
			time.AfterFunc(r.breaks, hangUp)
		}
		if r.pause != nil {
			r.pause(read)
		}
	}
	return nil
}

// cut counts a connection that broke. Those of some readers must not.
func (r *feedReader) cut(err error) error {
	r.cuts++
	if r.name != "slow" && r.name != "broken" {
		return err
	}
	return nil
}

// event is one of Server-Sent Events.
type event struct{ id, name, data string }

// readEvent reads the next event. What is not ended by an empty line is none.
func readEvent(in *bufio.Reader) (e event, err error) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return event{}, err
		}
		line = strings.TrimSuffix(line, "\n")
		field, value, _ := strings.Cut(line, ": ")
		switch field {
		case "":
			return e, nil
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data += value
		}
	}
}

// poll follows the log page by page, and waits for what is not there yet.
func (r *feedReader) poll(ctx context.Context) error {
	type changes struct {
		LogID   string `json:"log_id"`
		Next    int
		Cursor  string
		Changes []json.RawMessage
	}
	for !r.complete() && ctx.Err() == nil {
		path := "/v1/changes?limit=1000&wait=20"
		if r.cursor != "" {
			path += "&cursor=" + r.cursor
		}
		r.connections++
		page, err := get[changes](r.node, r.key, path)
		if err != nil {
			return err
		}
		r.log, r.cursor = page.LogID, page.Cursor
		for _, text := range page.Changes {
			if err := r.take(text); err != nil {
				return err
			}
		}
		if page.Next != len(r.sums) {
			return fmt.Errorf("next is %d after %d", page.Next, len(r.sums))
		}
	}
	return ctx.Err()
}

// readLog is a log as it was read.
type readLog struct {
	head    v1.Head
	log     string
	changes []storage.Change
}

func (l *readLog) Head(context.Context) (storage.Head, error) {
	root, err := hashIn(l.head.Root)
	return storage.Head{LogID: l.log, Seq: uint64(l.head.Seq), Root: root}, err
}

func (l *readLog) Changes(_ context.Context, after uint64, limit int) ([]storage.Change, error) {
	rest := l.changes[min(after, uint64(len(l.changes))):]
	return rest[:min(limit, len(rest))], nil
}

func (l *readLog) Wait(context.Context, uint64) error { return errors.ErrUnsupported }
