package api_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	v1 "vigie/api/v1"
	"vigie/storage"
	"vigie/storage/sqlstore"
)

// swapped is a catalogue in whose place another one may come.
type swapped struct{ storage.Catalogue }

// TestCursorBeforeItIsNoticed: a cursor is held against the log that is there, also by a node that still answers from
// another one.
func TestCursorBeforeItIsNoticed(t *testing.T) {
	t.Parallel()
	first, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "first.db"), storage.Options{})
	must(t, err)
	c := &swapped{first}
	n := newNode(t, setup{catalogue: c})
	n.bank("bank")
	page, err := n.as("admin").ListChangesWithResponse(t.Context(), &v1.ListChangesParams{})
	must(t, err)
	cursor := page.JSON200.Cursor
	n.stop() // it notices nothing
	other, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "other.db"), storage.Options{})
	must(t, err)
	defer other.Close()
	c.Catalogue = other
	answer := n.send(http.MethodGet, "/v1/changes?cursor="+cursor, nil)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusConflict {
		t.Error(fmt.Sprint(answer.StatusCode, read(t, answer.Body)))
	}
	c.Catalogue = first
}
