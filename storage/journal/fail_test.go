package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// failing are options of a disk that fails with err, as long as it is not nil, where at says.
type failing struct {
	testing.TB
	err atomic.Pointer[error]
	at  func(f *os.File, writing bool) bool

	mu     sync.Mutex
	failed map[*os.File]bool // they are not to be used any more
}

func (d *failing) options() Options {
	return Options{
		write: func(f *os.File, p []byte) (int, error) {
			if err := d.fails(f, true); err != nil {
				n, _ := f.Write(p[:len(p)*2/3])
				return n, err
			}
			return f.Write(p)
		},
		sync: func(f *os.File) error {
			if err := d.fails(f, false); err != nil {
				return err
			}
			return f.Sync()
		},
	}
}

func (d *failing) fails(f *os.File, writing bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed[f] {
		d.Errorf("%s failed, and is used again", f.Name())
	}
	if err := d.err.Load(); err != nil && d.at(f, writing) {
		if d.failed == nil {
			d.failed = map[*os.File]bool{}
		}
		d.failed[f] = true
		return *err
	}
	return nil
}

// TestDiskFails: whatever the disk refuses, those who wait are told, and the next record finds a new file, as soon as the disk
// has recovered. Numbers stay dense, and what was refused is not handed on by this process.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	isFolder := func(f *os.File) bool { info, err := f.Stat(); return err == nil && info.IsDir() }
	isHeader := func(f *os.File) bool { // the files keep the names that they were opened with
		_, err := os.Stat(f.Name())
		return strings.HasSuffix(f.Name(), fileSuffix+tempSuffix) && err == nil
	}
	for name, at := range map[string]func(f *os.File, writing bool) bool{
		"write":        func(f *os.File, writing bool) bool { return writing && !isHeader(f) },
		"sync":         func(f *os.File, writing bool) bool { return !writing && !isHeader(f) && !isFolder(f) },
		"write header": func(f *os.File, writing bool) bool { return writing && isHeader(f) },
		"sync header":  func(f *os.File, writing bool) bool { return !writing && isHeader(f) },
		"sync folder":  func(f *os.File, _ bool) bool { return isFolder(f) },
		"rename":       nil,
	} {
		for _, begun := range []bool{true, false} { // a file
			if begun && name != "write" && name != "sync" {
				continue // nothing of the kind is done
			}
			t.Run(fmt.Sprintf("%s %t", name, begun), func(t *testing.T) {
				t.Parallel()
				dir, full := t.TempDir(), error(syscall.ENOSPC)
				disk := &failing{TB: t, at: at}
				o := disk.options()
				o.Fault = func(err error) { t.Error(err) }
				j := open(t, dir, o)
				c := newCatalogue(t)
				appended := map[ID]string{}
				for n := range 3 {
					appended[add(t, j, fmt.Sprint(n))] = fmt.Sprint(n)
				}
				if !begun {
					drain(t, j, c)
				}
				taken := filepath.Join(dir, fileName(4))
				if name == "rename" { // to where there is a folder
					if err := os.MkdirAll(filepath.Join(taken, "x"), 0o700); err != nil {
						t.Fatal(err)
					}
				} else {
					disk.err.Store(&full)
				}
				told := make(chan error)
				for range 5 {
					go func() {
						_, err := j.Append(t.Context(), "match", []byte(`"refused"`))
						told <- err
					}()
				}
				for range 5 {
					if err := <-told; !errors.Is(err, full) && name != "rename" || err == nil {
						t.Errorf("got %v", err)
					}
				}
				if disk.err.Store(nil); name == "rename" {
					if err := os.RemoveAll(taken); err != nil {
						t.Fatal(err)
					}
				}
				for n := range 3 {
					id := add(t, j, fmt.Sprint(n+3))
					appended[id] = fmt.Sprint(n + 3)
					if id.Number != uint64(n+4) {
						t.Errorf("record %d is %v", n+4, id)
					}
				}
				drain(t, j, c)
				c.want(appended, false)
				if s := j.Stats(); s.Bytes != 0 || s.Appended != 6 || s.Shipped != 6 {
					t.Errorf("%+v", s)
				}
			})
		}
	}
}

// TestFailedThenKilled: a group that was written and not synced is there when the process ends. It is delivered, and its numbers
// are not given again; unless the process had begun another file before, with the same numbers: then they are of that one.
func TestFailedThenKilled(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		dir := t.TempDir()
		var failing atomic.Bool
		j := open(t, dir, Options{sync: func(f *os.File) error {
			if failing.Load() {
				return syscall.EIO
			}
			return f.Sync()
		}})
		appended := map[ID]string{add(t, j, "1"): "1"}
		failing.Store(true)
		if _, err := j.Append(t.Context(), "match", []byte(`"failed"`)); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		failing.Store(false)
		appended[ID{j.Node(), 2}] = `"failed"`
		if again {
			appended[add(t, j, `"again"`)] = `"again"`
		}
		killed := t.TempDir() // the folder as it is, while the process lives
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		j = open(t, killed, Options{Fault: func(err error) { t.Error(err) }})
		appended[add(t, j, "3")] = "3"
		c := newCatalogue(t)
		drain(t, j, c)
		c.want(appended, false)
		if len(appended) != 3 {
			t.Error(appended)
		}
	}
}
