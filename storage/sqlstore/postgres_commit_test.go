package sqlstore

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"vigie/storage"
)

// commits stands between stores and a server and cuts connections in which a COMMIT comes by.
type commits struct {
	t      *testing.T
	server string // its socket
	cut    atomic.Int32
}

// What becomes of a COMMIT.
const (
	passes int32 = iota
	unsent       // it does not reach the server
	unanswered
)

// proxied is the URL of a database behind the proxy.
func (c *commits) proxied(database string) string {
	u, err := url.Parse(database)
	if err != nil {
		c.t.Fatal(err)
	}
	c.server = filepath.Join(u.Query().Get("host"), ".s.PGSQL.5432")
	dir, err := os.MkdirTemp("/tmp", "vigie-proxy-") // sockets have short paths
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go c.pass(client)
		}
	}()
	u.RawQuery = url.Values{"host": {dir}}.Encode()
	return u.String()
}

func (c *commits) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", c.server)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer server.Close()
	var mute atomic.Bool
	answered := make(chan bool)
	go func() {
		defer close(answered)
		defer client.Close()
		b := make([]byte, 1<<16)
		for {
			n, err := server.Read(b)
			if err != nil || mute.Load() { // that was the answer: it is committed
				return
			}
			if _, err := client.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	b := make([]byte, 1<<16)
	for {
		n, err := client.Read(b)
		if err != nil {
			return
		}
		if how := c.cut.Load(); how != passes && bytes.Contains(b[:n], []byte("commit\x00")) {
			if how == unsent {
				return
			}
			mute.Store(true)
			io.Copy(server, bytes.NewReader(b[:n]))
			<-answered
			return
		}
		if _, err := server.Write(b[:n]); err != nil {
			return
		}
	}
}

// TestPostgresUnknownOutcome: an update whose commit was not answered says that it does not know, whether it happened or not, and
// is not run again; the next one works.
func TestPostgresUnknownOutcome(t *testing.T) {
	t.Parallel()
	c := &commits{t: t}
	s := openPostgres(t, c.proxied(migrated(t)), storage.Options{})
	for how, there := range map[int32]uint64{unsent: 0, unanswered: 1} {
		before, err := s.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.cut.Store(how)
		runs := 0
		var change storage.Change
		err = s.Update(t.Context(), func(w storage.Writer) error {
			runs++
			change = storage.Change{Kind: "test"}
			return w.Append(&change)
		})
		c.cut.Store(passes)
		if !errors.Is(err, storage.ErrUnknownOutcome) || !errors.Is(err, storage.ErrUnavailable) || runs != 1 || change.Seq != 0 {
			t.Errorf("way %d: got %v after %d runs, number %d", how, err, runs, change.Seq)
		}
		after, err := s.Head(t.Context())
		if err != nil || after.Seq != before.Seq+there {
			t.Errorf("way %d: head is %d after %d, %v", how, after.Seq, before.Seq, err)
		}
		if err := s.Update(t.Context(), func(w storage.Writer) error { return w.Append(&storage.Change{Kind: "test"}) }); err != nil {
			t.Errorf("way %d, afterwards: %v", how, err)
		}
	}
	if _, err := storage.VerifyLog(t.Context(), s, nil); err != nil {
		t.Error(err)
	}
}

// TestPostgresCut ends the session of an update between all its statements: nothing has happened, and it says so.
func TestPostgresCut(t *testing.T) {
	t.Parallel()
	u := migrated(t)
	s := openPostgres(t, u, storage.Options{})
	a := admin(t, u)
	terminate := func(w storage.Writer) {
		var pid int
		if err := w.(*writer).row("SELECT pg_backend_pid()").Scan(&pid); err != nil {
			t.Fatal(err)
		}
		var done bool
		if err := a.QueryRow(t.Context(), "SELECT pg_terminate_backend($1, 10000)", pid).Scan(&done); err != nil || !done {
			t.Fatal(done, err)
		}
	}
	add := func(w storage.Writer) error { return w.Append(&storage.Change{Kind: "test"}) }
	cutAtEnd := func(w storage.Writer) error {
		err := add(w)
		terminate(w)
		return err
	}
	cutAtStart := func(w storage.Writer) error {
		terminate(w)
		_, err := w.Banks()
		return errors.Join(err, add(w))
	}
	for name, updates := range map[string][]func(storage.Writer) error{
		"alone, at the end":   {cutAtEnd},
		"alone, at the start": {cutAtStart},
		"with others":         {add, cutAtEnd, add},
		"as the last":         {add, add, cutAtStart},
	} {
		for i, err := range together(t, s.Store, updates...) {
			if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrUnknownOutcome) {
				t.Errorf("%s: update %d: %v", name, i, err)
			}
		}
		if head, err := s.Head(t.Context()); err != nil || head.Seq != 0 {
			t.Errorf("%s: head is %d, %v", name, head.Seq, err)
		}
	}
	// Between updates: nobody notices.
	const all = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'vigie' AND datname = current_database()"
	if _, err := a.Exec(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(t.Context(), add); err != nil {
		t.Error(err)
	}
	if err := s.View(t.Context(), func(r storage.Reader) error { _, err := r.Banks(); return err }); err != nil {
		t.Error(err)
	}
	_, err := a.Exec(t.Context(), all)
	if head, err2 := s.Head(t.Context()); err != nil || err2 != nil || head.Seq != 1 {
		t.Errorf("head is %d, %v, %v", head.Seq, err, err2)
	}
	var inView error
	err = s.View(t.Context(), func(r storage.Reader) error {
		var pid int
		var done bool
		if err := r.(*reader).row("SELECT pg_backend_pid()").Scan(&pid); err != nil {
			return err
		}
		if err := a.QueryRow(t.Context(), "SELECT pg_terminate_backend($1, 10000)", pid).Scan(&done); err != nil {
			return err
		}
		_, inView = r.Banks()
		return inView
	})
	if inView == nil || !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("in the middle of a view: %v, %v", inView, err)
	}
}
