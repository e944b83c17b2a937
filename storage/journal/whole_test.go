package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// TestShipFiles: a batch is a file, whatever it takes to deliver it; the file that is being written waits until it is complete.
func TestShipFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir, unsynced(Options{}))
	for i := range maxBatch + 5 { // more than a batch of Ship
		add(t, j, fmt.Sprint(i))
	}
	j.Close()
	j = open(t, dir, unsynced(Options{}))
	add(t, j, `"growing"`)
	backlog := 0
	for r, err := range j.Backlog() {
		if backlog++; err != nil || r.ID != (ID{j.Node(), uint64(backlog)}) {
			t.Fatalf("%v, %v, want number %d", r.ID, err, backlog)
		}
	}
	if backlog != maxBatch+6 {
		t.Errorf("a backlog of %d records", backlog)
	}

	var batches []string
	ctx, cancel := context.WithCancel(t.Context())
	done, delivered := make(chan error), make(chan bool)
	go func() {
		fails := true
		done <- j.ShipFiles(ctx, func(_ context.Context, records []Record) error {
			batches = append(batches, fmt.Sprintf("%d from %d", len(records), records[0].ID.Number))
			if fails = !fails; !fails {
				return errors.New("meant")
			}
			delivered <- true
			return nil
		})
	}()
	<-delivered
	if err := j.Reach(ctx, ID{j.Node(), maxBatch + 5}); err != nil {
		t.Fatal(err)
	}
	if s := j.Stats(); s.Shipped != maxBatch+5 || s.Backlog != 1 {
		t.Errorf("%+v", s)
	}
	j.Renew()
	<-delivered
	if err := j.Flush(ctx); err != nil {
		t.Error(err)
	}
	cancel()
	<-done
	a, b := fmt.Sprintf("%d from 1", maxBatch+5), fmt.Sprintf("1 from %d", maxBatch+6)
	if want := []string{a, a, b, b}; !slices.Equal(batches, want) {
		t.Errorf("%q, want %q", batches, want)
	}
	for r := range j.Backlog() {
		t.Errorf("%v is in the backlog", r.ID)
	}
	if left := names(t, dir); !slices.Equal(left, []string{markName}) {
		t.Errorf("left: %v", left)
	}
}
