package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"vigie/storage"
	"vigie/storage/sqlstore"
)

// TestUnfinishedCopy: no node starts on what a copy has left that did not come to its end, and it says what to do.
func TestUnfinishedCopy(t *testing.T) {
	t.Parallel()
	open := func(folder string) *sqlstore.Store {
		s, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(folder, catalogueFile), storage.Options{})
		must(t, err)
		return s
	}
	data := t.TempDir()
	from, to := open(t.TempDir()), open(data)
	ctx, cancel := context.WithCancel(t.Context())
	if err := sqlstore.Copy(ctx, from, to, sqlstore.CopyOptions{Progress: func(string, int64, int64) { cancel() }}); err == nil {
		t.Fatal("the copy is finished")
	}
	must(t, errors.Join(from.Close(), to.Close()))
	for _, args := range [][]string{{"serve", "--listen", "127.0.0.1:0"}, {"banks", "list"}} {
		code, out, warn := runVigie(nil, append(args, "--data", data)...)
		if code != 1 || out != "" || !strings.Contains(warn, "run that copy again") || strings.Count(strings.TrimSpace(warn), "\n") > 1 {
			t.Errorf("%v: exit %d: %s%s", args, code, out, warn)
		}
	}
}
