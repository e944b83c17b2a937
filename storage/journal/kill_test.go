package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vigie/internal/testkill"
	"vigie/storage"
)

// The environment of the process that is killed.
const killedFolder = "VIGIE_TEST_KILLED_JOURNAL"

// TestKilled has a process append from 16 goroutines and ship to a catalogue, a file of lines, that fails at times, and kills it with
// SIGKILL at random moments. In the end each record that it acknowledged is in the catalogue, no id is that of two
// records, and none is missing. VIGIE_KILL_ROUNDS sets how often (20 is the full proof), VIGIE_KILL_RECORDS after how many
// records, about.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(killedFolder); dir != "" {
		appendUntilKilled(t, dir)
	}
	dir := t.TempDir()
	rounds, records := int(testkill.Number(t, "VIGIE_KILL_ROUNDS", 5)), int(testkill.Number(t, "VIGIE_KILL_RECORDS", 200))
	appended := map[ID]string{}
	for round := range rounds {
		pause := time.Duration(rand.Int64N(int64(20 * time.Millisecond)))
		testkill.After(t, []string{killedFolder + "=" + dir}, 1+rand.IntN(2*records), pause, func(line string) {
			if line == "ready" {
				return
			}
			text, body, _ := strings.Cut(line, " ")
			id, err := ParseID(text)
			if err != nil || appended[id] != "" {
				t.Fatalf("round %d: %q: %v; was %q", round, line, err, appended[id])
			}
			appended[id] = body
		})
	}
	c := newCatalogue(t)
	lines := 0
	for line := range strings.Lines(string(readFile(t, dir, "catalogue"))) {
		text, body, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		id, err := ParseID(text)
		if !strings.HasSuffix(line, "\n") {
			break // the last process was killed before it was whole
		}
		if had, again := c.has[id]; err != nil || again && string(had.Body) != body {
			t.Fatalf("%q: %v; was %s", line, err, had.Body)
		}
		c.has[id] = Record{ID: id, Body: []byte(body)}
		lines++
	}
	shipped := len(c.has)
	j := open(t, filepath.Join(dir, "journal"), Options{Fault: func(err error) { t.Error(err) }})
	rest := newCatalogue(t)
	drain(t, j, rest)
	for id, r := range rest.has {
		if had, again := c.has[id]; again && !bytes.Equal(had.Body, r.Body) {
			t.Errorf("%v is %s and %s", id, had.Body, r.Body)
		}
		c.has[id] = r
	}
	c.want(appended, true)
	for n := range j.Stats().Appended {
		if _, ok := c.has[ID{j.Node(), n + 1}]; !ok {
			t.Errorf("there is no record %d", n+1)
		}
	}
	if n := uint64(len(c.has)); n != j.Stats().Appended || len(appended) == 0 {
		t.Errorf("%d records of %d", n, j.Stats().Appended)
	}
	t.Logf("killed %d times; %d acknowledged, %d appended; %d delivered by then, %d of them again; %d after",
		rounds, len(appended), j.Stats().Appended, shipped, lines-shipped, len(rest.has))
}

// appendUntilKilled is the process that is killed. It tells of each record that was acknowledged.
func appendUntilKilled(t *testing.T, dir string) {
	die := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	j, err := Open(filepath.Join(dir, "journal"), Options{FileBytes: 8 << 10, Fault: func(err error) {
		if errors.Is(err, storage.ErrCorrupt) {
			die(err)
		}
	}})
	if err != nil {
		die(err)
	}
	catalogue, err := openLines(filepath.Join(dir, "catalogue"))
	if err != nil {
		die(err)
	}
	fmt.Println("ready")
	for i := range 16 {
		go func() {
			for n := 0; ; n++ {
				body := fmt.Sprintf("[%d,%d,%d,%q]", os.Getpid(), i, n, strings.Repeat("x", rand.IntN(300)))
				id, err := j.Append(t.Context(), "match", []byte(body))
				if err != nil {
					die(err)
				}
				fmt.Printf("%v %s\n", id, body)
			}
		}()
	}
	var once sync.Once
	die(j.Ship(t.Context(), func(_ context.Context, records []Record) error {
		once.Do(func() { time.Sleep(time.Duration(rand.Int64N(int64(30 * time.Millisecond)))) }) // so that some have a backlog
		fails := rand.IntN(4) == 0
		if fails {
			records = records[:len(records)/2]
		}
		var lines bytes.Buffer
		for _, r := range records {
			fmt.Fprintf(&lines, "%v %s\n", r.ID, r.Body)
		}
		if _, err := catalogue.Write(lines.Bytes()); err != nil {
			die(err)
		}
		if fails {
			return errors.New("meant")
		}
		return nil
	}))
}

// openLines opens a file of lines to append to, and removes the last one if it is not whole.
func openLines(path string) (*os.File, error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		if err := os.Truncate(path, int64(bytes.LastIndexByte(b, '\n')+1)); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}
