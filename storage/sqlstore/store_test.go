package sqlstore

import (
	"context"
	"path/filepath"
	"testing"

	"vigie/storage"
	"vigie/storage/storagetest"
)

// onDisk is a store that can be opened again.
type onDisk struct {
	*Store
	path string
}

func (s onDisk) Reopen(t testing.TB) storage.Catalogue {
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, s.path, s.options)
}

func open(t testing.TB, path string, o storage.Options) onDisk {
	t.Helper()
	s, err := OpenSQLite(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return onDisk{s, path}
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t testing.TB, o storage.Options) storage.Catalogue {
		return open(t, filepath.Join(t.TempDir(), "catalogue % ?#.db"), o)
	})
}
