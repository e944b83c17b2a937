package sqlstore

import (
	"fmt"
	"testing"
	"time"

	"vigie/storage"
	"vigie/storage/storagetest"
)

// TestDueByTheDatabase: what is due is so by the clock of PostgreSQL, whatever that of the process.
func TestDueByTheDatabase(t *testing.T) {
	t.Parallel()
	s := openPostgres(t, migrated(t), storage.Options{})
	far := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	e := storage.Entry{Bank: 1, Status: storage.Active, ExpiresAt: far}
	update := func(fn func(storage.Writer) error) {
		t.Helper()
		if err := s.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	update(func(w storage.Writer) error {
		if err := w.CreateBank(&storage.Bank{Name: "b"}); err != nil {
			return err
		}
		return storagetest.AddEntry(w, &e)
	})
	due := func() (ids []storage.EntryID) {
		t.Helper()
		err := s.View(t.Context(), func(r storage.Reader) (err error) {
			ids, err = r.Due(9)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if ids := due(); ids != nil {
		t.Errorf("%v are due in 2100", ids)
	}
	clock := s.dialect.clock
	s.dialect.clock = fmt.Sprintf("SELECT CAST(%d AS BIGINT)", far.UnixMilli()-1)
	if ids := due(); ids != nil {
		t.Errorf("%v are due a millisecond before", ids)
	}
	s.dialect.clock = fmt.Sprintf("SELECT CAST(%d AS BIGINT)", far.UnixMilli())
	if ids := due(); len(ids) != 1 {
		t.Errorf("%v are due when the database says that the time has come", ids)
	}
	update(func(w storage.Writer) error {
		expired, err := w.Expire(9)
		if len(expired) != 1 || expired[0].Status != storage.Expired {
			t.Errorf("expired are %+v", expired)
		}
		return err
	})

	var now int64
	if err := s.reader.QueryRowContext(t.Context(), clock).Scan(&now); err != nil || time.Since(time.UnixMilli(now)).Abs() > time.Hour {
		t.Errorf("the present is %v; %v", time.UnixMilli(now), err)
	}
}
