package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/alecthomas/kong"

	"vigie/internal/testpg"
	"vigie/storage"
)

// TestPatiently: a node that serves waits for a database that goes away while it starts, and for nothing else; a command does not wait.
func TestPatiently(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		away, wrong := fmt.Errorf("a blip: %w", storage.ErrUnavailable), errors.New("wrong password")
		for _, test := range []struct {
			wait  bool
			fails []error
			want  error
			asked int
		}{
			{true, []error{away, away, away}, nil, 4},
			{true, []error{away, wrong}, wrong, 2},
			{false, []error{away}, away, 1},
		} {
			asked := 0
			err := patiently(t.Context(), test.wait, slog.New(slog.DiscardHandler), func() error {
				if asked++; asked <= len(test.fails) {
					return test.fails[asked-1]
				}
				return nil
			})
			if !errors.Is(err, test.want) || asked != test.asked {
				t.Errorf("%+v: %v after %d", test, err, asked)
			}
		}
	})
}

// TestOlderCopyOfAFolder opens a node whose catalogue has more of its journal than the folder: it gives other numbers.
func TestOlderCopyOfAFolder(t *testing.T) {
	t.Parallel()
	var c cli
	parser, err := kong.New(&c, words())
	must(t, err)
	_, err = parser.Parse([]string{"serve", "--data", filepath.Join(t.TempDir(), "data")})
	must(t, err)
	n, err := openNode(t.Context(), &c.Config, nil, nil)
	must(t, err)
	err = n.store.Update(t.Context(), func(w storage.Writer) error { return w.SetShipped(n.journal.Node(), 40) })
	must(t, errors.Join(err, n.Close()))
	n, err = openNode(t.Context(), &c.Config, nil, nil)
	must(t, err)
	id, err := n.journal.Append(t.Context(), "signin", []byte("{}"))
	if err != nil || id.Number != 41 {
		t.Errorf("the next record is %s: %v", id, err)
	}
	must(t, n.Close())
}

// TestPoolerEndsTheStart: a node does not wait for a pooler that will never do.
func TestPoolerEndsTheStart(t *testing.T) {
	t.Parallel()
	database := testpg.Refusing(t, "08P01", "unsupported startup parameter: search_path")
	code, out, warn := runVigie(append(os.Environ(), "VIGIE_DATABASE="+database, "VIGIE_DATA="+filepath.Join(t.TempDir(), "data"), "VIGIE_LOG_LEVEL=error"), "serve", "--listen", "127.0.0.1:0")
	if code != exitUsage || out != "" || strings.Count(warn, "\n") != 1 || !strings.Contains(warn, "accepted is a connection to PostgreSQL itself") {
		t.Errorf("exit %d: %s%s", code, out, warn)
	}
}
