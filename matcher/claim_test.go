package matcher_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/journal"
)

// TestSlowReports: who may be a copy hears of the other one, though its database is slow and one report fails.
func TestSlowReports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, ctx := catalogues["memory"](t), t.Context()
		last := storage.NodeReport{ID: "aaaaaaaa", At: time.Now(), Claim: storage.NodeClaim{Number: 3, Place: "there"}}
		report := func(n storage.NodeReport) {
			must(t, c.Update(ctx, func(w storage.Writer) error { return w.ReportNode(n) }))
		}
		report(last)
		go func() {
			time.Sleep(20 * time.Second)
			last.At = time.Now()
			report(last)
		}()
		if _, err := matcher.AwaitIdentity(ctx, c, "aaaaaaaa", "here", func(storage.NodeReport) {}); !errors.Is(err, matcher.ErrIdentityTaken) {
			t.Errorf("it does not wait for it: %v", err)
		}
		synctest.Wait()
		began := time.Now()
		got, err := matcher.AwaitIdentity(ctx, c, "aaaaaaaa", "here", func(storage.NodeReport) {})
		if waited := time.Since(began); err != nil || got != last.Claim || waited < 25*time.Second || waited > 26*time.Second {
			t.Errorf("%+v, %v, after %v", got, err, waited)
		}
	})
}

// TestClaimOfACommand: a command claims the identity that a node has had, in whose report nothing else changes: of a node and a command, and of
// two commands, on copies of a folder, the one that comes later delivers.
func TestClaimOfACommand(t *testing.T) {
	t.Parallel()
	c, ctx := catalogues["memory"](t), t.Context()
	reports := func() (all []storage.NodeReport) {
		must(t, c.View(ctx, func(r storage.Reader) (err error) {
			all, err = r.Nodes()
			return err
		}))
		return all
	}
	claim := func(place string, command bool) (storage.NodeClaim, error) {
		last, err := matcher.AwaitIdentity(ctx, c, "aaaaaaaa", place, func(storage.NodeReport) { t.Error("it waits") })
		must(t, err)
		return matcher.ClaimIdentity(ctx, c, storage.NodeReport{ID: "aaaaaaaa", Name: place, At: time.Now(), Stopped: command, Claim: storage.NodeClaim{Place: place}}, last)
	}
	// Where there was no node, there is none, and the command delivers all the same.
	none, err := claim("new", true)
	must(t, err)
	if none != (storage.NodeClaim{}) || len(reports()) != 0 {
		t.Errorf("it claims %+v, and is a node: %+v", none, reports())
	}
	_, err = claim("node", false)
	must(t, err)
	ended := reports()[0]
	ended.Stopped = true
	must(t, c.Update(ctx, func(w storage.Writer) error { return w.ReportNode(ended) }))

	deliver := func(claim storage.NodeClaim, number uint64) error {
		return start(t, c, matcher.Options{Claim: claim}).Deliver(ctx, []journal.Record{
			{ID: journal.ID{Node: "aaaaaaaa", Number: number}, At: time.Now(), Kind: "signin", Body: []byte(`{"Key":"k"}`)},
		})
	}
	first, err := claim("copy", true)
	must(t, err)
	want := ended
	want.Claim = storage.NodeClaim{Number: ended.Claim.Number + 1, Place: "copy"}
	equal(t, reports(), []storage.NodeReport{want})
	must(t, deliver(first, 1))
	second, err := claim("other copy", true)
	must(t, err)
	wantErr(t, deliver(first, 2), matcher.ErrIdentityTaken)
	must(t, deliver(second, 2))
	node, err := claim("node", false)
	must(t, err)
	wantErr(t, deliver(second, 3), matcher.ErrIdentityTaken)
	must(t, deliver(node, 3))
}

// TestNamesOfMachines: a node starts, whatever its machine is called.
func TestNamesOfMachines(t *testing.T) {
	t.Parallel()
	c, ctx := catalogues["sqlite"](t), t.Context()
	for i, name := range []string{strings.Repeat("h", 300), strings.Repeat("h", storage.MaxNodeName-1) + "é", "h\xff\xfe", strings.Repeat("é", 101)} {
		id := string(rune('a'+i)) + "aaaaaaa"
		_, err := matcher.ClaimIdentity(ctx, c, storage.NodeReport{ID: id, Name: name, Version: name, At: time.Now(), Claim: storage.NodeClaim{Place: "p"}}, storage.NodeClaim{})
		if err != nil {
			t.Errorf("%.10q... of %d bytes: %v", name, len(name), err)
		}
	}
	must(t, c.View(ctx, func(r storage.Reader) error {
		all, err := r.Nodes()
		for _, n := range all {
			if !utf8.ValidString(n.Name) || n.Name == "" || n.Name != n.Version {
				t.Errorf("%q", n.Name)
			}
		}
		return err
	}))
}
