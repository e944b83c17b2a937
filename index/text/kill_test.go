package text_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"vigie/index/text"
)

const childVariable = "VIGIE_TEXT_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		if err := writeForEver(dir); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// history is what change seq does: it adds ten entries, alters one and deletes two.
func history(seq uint64) (docs []text.Document, gone []uint64) {
	for i := range uint64(10) {
		docs = append(docs, text.Document{Entry: seq*10 + i, Bank: 1, Note: fmt.Sprintf("change%d banner", seq)})
	}
	if seq > 1 {
		docs = append(docs, text.Document{Entry: (seq-1)*10 + 5, Bank: 1, Note: fmt.Sprintf("change%d altered", seq)})
		gone = []uint64{(seq-1)*10 + 6, (seq-1)*10 + 7}
	}
	return docs, gone
}

// after is what the index holds after changes up to seq: notes by entry.
func after(seq uint64) map[uint64]string {
	all := map[uint64]string{}
	for s := uint64(1); s <= seq; s++ {
		docs, gone := history(s)
		for _, d := range docs {
			all[d.Entry] = d.Note
		}
		for _, e := range gone {
			delete(all, e)
		}
	}
	return all
}

// writeForEver carries on the history from where the index stands, and says each change that it applied.
func writeForEver(dir string) error {
	x, err := text.Open(dir, text.Options{LogID: logID, Head: 1 << 40})
	if err != nil {
		return err
	}
	s, err := x.State()
	if err != nil {
		return err
	}
	if s.Emptied != "" {
		return fmt.Errorf("the index was emptied: %s", s.Emptied)
	}
	for seq := s.Mark.Seq + 1; ; seq++ {
		docs, gone := history(seq)
		if err := x.Apply(context.Background(), text.Mark{LogID: logID, Seq: seq}, docs, gone); err != nil {
			return err
		}
		fmt.Println(seq)
	}
}

// TestKill kills a process that applies changes, at any moment: each time the index opens as it was after one of its
// changes, entries and mark together, and carries on.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes")
	}
	dir := t.TempDir()
	var last uint64
	for range 6 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 20 + rand.IntN(150); n > 0 && lines.Scan(); n-- {
			if strings.HasPrefix(lines.Text(), "error") {
				t.Fatal(lines.Text())
			}
			if last, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()

		x, err := text.Open(dir, text.Options{LogID: logID, Head: 1 << 40})
		if err != nil {
			t.Fatal(err)
		}
		s, err := x.State()
		if err != nil {
			t.Fatal(err)
		}
		if s.Emptied != "" || s.Saved != s.Mark.Seq {
			t.Fatalf("after a kill: %+v", s)
		}
		holds(t, x, after(s.Mark.Seq))
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("killed after change %d was applied; the index stands at %d with %d entries", last, s.Mark.Seq, s.Documents)
	}
}

// holds checks that an index holds notes, by entry, and no others.
func holds(t *testing.T, x *text.Index, want map[uint64]string) {
	t.Helper()
	q := text.Query{Limit: text.MaxLimit, Sort: text.Newest}
	var got []uint64
	for {
		r, err := x.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range r.Hits {
			got = append(got, h.Entry)
			if _, ok := want[h.Entry]; !ok {
				t.Fatalf("entry %d should not be there", h.Entry)
			}
		}
		if q.Cursor = r.Next; q.Cursor == "" {
			break
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d entries; want %d", len(got), len(want))
	}
	for entry, note := range want {
		if entry%7 != 0 { // some, for time
			continue
		}
		r, err := x.Search(t.Context(), text.Query{Text: `"` + note + `"`, Limit: text.MaxLimit})
		if err != nil || !slices.ContainsFunc(r.Hits, func(h text.Hit) bool { return h.Entry == entry }) {
			t.Fatalf("entry %d is not found by %q: %v", entry, note, err)
		}
	}
}

// TestClosedIsSaved: what was applied before Close is there after it, without a wait.
func TestClosedIsSaved(t *testing.T) {
	dir := t.TempDir()
	x := open(t, dir, 50)
	for seq := uint64(1); seq <= 50; seq++ {
		docs, gone := history(seq)
		if err := x.Apply(t.Context(), text.Mark{LogID: logID, Seq: seq}, docs, gone); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	y := open(t, dir, 50)
	if y.Mark().Seq != 50 {
		t.Errorf("change 50 was applied; after Close the index stands at %d", y.Mark().Seq)
	}
	holds(t, y, after(50))
}

// TestConcurrent: a search beside changes sees the index as it was after one of them, and says which.
func TestConcurrent(t *testing.T) {
	x := open(t, t.TempDir(), 60)
	var searches sync.WaitGroup
	done := make(chan struct{})
	for range 3 {
		searches.Go(func() {
			for {
				r, err := x.Search(t.Context(), text.Query{Limit: 3, Sort: text.Newest, Facets: []string{"bank"}})
				if err != nil {
					t.Error(err)
					return
				}
				if want := uint64(len(after(r.Seq))); r.Total != want || want > 0 && r.Hits[0].Entry != r.Seq*10+9 {
					t.Errorf("change %d has %d entries, from %v; want %d", r.Seq, r.Total, r.Hits, want)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for seq := uint64(1); seq <= 60; seq++ {
		docs, gone := history(seq)
		if err := x.Apply(t.Context(), text.Mark{LogID: logID, Seq: seq}, docs, gone); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	searches.Wait()
}
