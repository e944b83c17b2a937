package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7/pkg/credentials"

	v1 "vigie/api/v1"
	"vigie/internal/testpg"
	"vigie/internal/tests3"
	"vigie/matcher"
	"vigie/storage"
	objects "vigie/storage/bucket"
	"vigie/storage/sqlstore"
)

// TestSnapshotTimes measures how long it takes to import a list, on SQLite and on PostgreSQL, and what that does to flags meanwhile; and how
// long a fresh node takes from its start until it is ready: from the database, and from a snapshot in S3. VIGIE_SNAPSHOT_ENTRIES says how
// many entries there are, each of one PDQ hash. 5 million take some 14 GB of disk in the folder for temporary files, and need -timeout 3h.
func TestSnapshotTimes(t *testing.T) {
	n := int(fromEnv(t, "VIGIE_SNAPSHOT_ENTRIES", 0))
	if n == 0 {
		t.Skip("set VIGIE_SNAPSHOT_ENTRIES to how many entries there are to be, at least 10000")
	}
	say := func(what string, took time.Duration, format string, more ...any) {
		t.Helper()
		t.Logf("%-34s %9.2f s  %s", what, took.Seconds(), fmt.Sprintf(format, more...))
	}
	list := filepath.Join(t.TempDir(), "list.csv")
	must(t, writeHashList(list, n))

	local := t.TempDir()
	importInto(t, "import into SQLite", local, list, n, say)
	t.Logf("the data folder has %d MB", used(t, local)>>20)
	must(t, os.RemoveAll(local)) // before there is another

	pg, s3 := testpg.Start(t, "max_wal_size=4GB", "shared_buffers=512MB"), tests3.Start(t)
	database, at := pg.URL("postgres"), s3.URL(s3.Bucket(t, false))
	importing := t.TempDir()
	seq := importInto(t, "import into PostgreSQL", importing, list, n, say, "VIGIE_DATABASE="+database)
	t.Logf("the database has %d MB, the node's folder %d MB", databaseSize(t, database)>>20, used(t, importing)>>20)
	must(t, os.RemoveAll(importing))

	run := func(what, data string) *fresh {
		f := startFresh(t, data, "VIGIE_DATABASE="+database, "VIGIE_MEDIA="+at, "AWS_ACCESS_KEY_ID="+tests3.AccessKey, "AWS_SECRET_ACCESS_KEY="+tests3.SecretKey)
		if f.seq < seq {
			t.Errorf("it is ready as of change %d of %d", f.seq, seq)
		}
		say(what, f.took, "memory %d MB now, at most %d MB, without its decode children", rss(f.process.Pid)>>20, peak(f.process.Pid)>>20)
		return f
	}
	one, two := t.TempDir(), t.TempDir()
	f := run("fresh node, from the database", one)
	if strings.Contains(f.stderr.String(), "snapshot of the index fetched") {
		t.Error("there was a snapshot already")
	}
	f.end(t) // which saves its index

	b, err := objects.Open(t.Context(), at, objects.Options{Credentials: credentials.NewStaticV4(tests3.AccessKey, tests3.SecretKey, "")})
	must(t, err)
	defer b.Close()
	store, err := sqlstore.OpenPostgres(t.Context(), database, storage.Options{})
	must(t, err)
	began := time.Now()
	left, err := matcher.NewSnapshots(b.Folder(objects.Snapshots), func(err error) { t.Error(err) }).Leave(t.Context(), store, filepath.Join(one, indexFolder))
	must(t, err)
	must(t, store.Close())
	say("leave a snapshot in S3", time.Since(began), "%d MB as of change %d", left.Bytes>>20, left.Seq)

	f = run("fresh node, from the snapshot", two)
	if !strings.Contains(f.stderr.String(), "snapshot of the index fetched") {
		t.Errorf("it has fetched none: %s", f.stderr.String())
	}
	f.end(t)
	t.Logf("its folder has %d MB", used(t, two)>>20)
	run("the same again, from its own folder", two).end(t)
}

// writeHashList writes a list of n hashes that are alike by chance alone.
func writeHashList(path string, n int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	_, _ = w.WriteString("signals\n")
	for draw := rand.New(rand.NewPCG(1, 2)); n > 0; n-- {
		_, _ = fmt.Fprintf(w, "pdq:%016x%016x%016x%016x\n", draw.Uint64(), draw.Uint64(), draw.Uint64(), draw.Uint64())
	}
	return errors.Join(w.Flush(), f.Close())
}

// importInto starts a node, imports a list of n hashes into it by `vigie import`, while ten entries a second are flagged, as they were for five
// seconds before, and ends the node. It returns the end of the log.
func importInto(t *testing.T, what, data, list string, n int, say func(what string, took time.Duration, format string, more ...any), env ...string) (seq int64) {
	t.Helper()
	f := startFresh(t, data, env...)
	key := f.key(t, v1.Admin)
	for _, bank := range []string{"many", "flags"} {
		_, err := post[v1.Bank](&f.served, key, "/v1/banks", map[string]any{"name": bank})
		must(t, err)
	}
	var refused atomic.Int64
	flags := func(first int, done <-chan struct{}) quantiles {
		return quantilesOf(microseconds(paced(10, done, func(i int) {
			flag := v1.FlagSignals{Signals: v1.Signals{randomSignal(rand.New(rand.NewPCG(3, uint64(first+i))))}}
			if _, err := post[v1.Flagged](&f.served, key, "/v1/banks/flags/entries", flag); err != nil {
				refused.Add(1)
			}
		})))
	}
	idle := flags(0, after(t.Context(), 5*time.Second))
	done, under := make(chan struct{}), make(chan quantiles)
	go func() { under <- flags(1<<30, done) }()
	began := time.Now()
	code, out, warn := f.vigie("import", "--bank", "many", "--json", list)
	took := time.Since(began)
	close(done)
	during := <-under
	var summary importSummary
	if err := json.Unmarshal([]byte(out), &summary); err != nil || code != 0 || summary.Created != n || refused.Load() > 0 {
		t.Errorf("import: exit %d, %v: %s%s; %d flags were refused", code, err, out, warn, refused.Load())
	}
	say(what, took, "%d entries, %.0f a second; memory at most %d MB", n, float64(n)/took.Seconds(), peak(f.process.Pid)>>20)
	t.Logf("flags, ten a second: p50 %.1f ms, p99 %.1f ms before; p50 %.1f ms, p99 %.1f ms, longest %.1f ms meanwhile",
		idle.P50/1000, idle.P99/1000, during.P50/1000, during.P99/1000, during.Max/1000)
	seq, err := f.head(key)
	must(t, err)
	f.end(t)
	return seq
}

func databaseSize(t *testing.T, database string) (bytes int64) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	must(t, err)
	must(t, conn.QueryRow(t.Context(), "SELECT pg_database_size(current_database())").Scan(&bytes))
	must(t, conn.Close(t.Context()))
	return bytes
}

// fresh is a node that has become ready, however long that took.
type fresh struct {
	served
	cmd  *exec.Cmd
	took time.Duration
	seq  int64
}

func startFresh(t *testing.T, data string, env ...string) *fresh {
	t.Helper()
	address := freeAddress(t)
	f := &fresh{served: served{data: data, url: "http://" + address}, cmd: exec.Command("vigie", "serve", "--data", data, "--listen", address)}
	f.cmd.Env = append(os.Environ(), env...)
	f.cmd.Stderr = &f.stderr
	began := time.Now()
	must(t, f.cmd.Start())
	f.process = f.cmd.Process
	t.Cleanup(func() {
		_ = f.process.Kill()
		_ = f.cmd.Wait() // again, if it has ended
	})
	for ctx := t.Context(); ; {
		var ready v1.Readiness
		answer, err := http.Get("http://" + address + "/readyz")
		if err == nil {
			err = json.NewDecoder(answer.Body).Decode(&ready)
			answer.Body.Close()
		}
		if err == nil && ready.Ready {
			f.took, f.seq = time.Since(began), *ready.IndexSeq
			return f
		}
		select {
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
		if syscall.Kill(f.process.Pid, 0) != nil {
			t.Fatalf("it ended: %s", f.stderr.String())
		}
	}
}

// end has the node end in order.
func (f *fresh) end(t *testing.T) {
	t.Helper()
	must(t, f.process.Signal(syscall.SIGTERM))
	if err := f.cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, f.stderr.String())
	}
}

// peak is the most memory that a process has had, in bytes.
func peak(pid int) (bytes int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if n, err := fmt.Sscanf(line, "VmHWM: %d kB", &bytes); n == 1 && err == nil {
			return bytes << 10
		}
	}
	return 0
}

// used is what the files of a folder take, in bytes.
func used(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	}))
	return bytes
}
