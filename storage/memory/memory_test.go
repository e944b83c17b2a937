package memory_test

import (
	"testing"

	"vigie/storage"
	"vigie/storage/memory"
	"vigie/storage/storagetest"
)

func TestCatalogue(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t testing.TB, o storage.Options) storage.Catalogue {
		c, err := memory.New(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	})
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	storagetest.RunBlobs(t, func(*testing.T) storage.Blobs { return new(memory.Blobs) })
}
