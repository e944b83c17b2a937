package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	v1 "vigie/api/v1"
)

type importBenchCmd struct {
	Rows     int     `help:"Rows of the list." default:"1000000"`
	Bad      float64 `help:"How many of a hundred rows are bad." default:"1"`
	WithLoad bool    `help:"Flag and check beside the import, and before it for comparison."`
	Flags    int     `help:"Flags a second, with --with-load." default:"10"`
	Checks   int     `help:"Checks a second, with --with-load." default:"100"`
	Seed     uint64  `help:"Seed of the list, and of what is flagged and checked." default:"1"`
	benchFiles
}

// Run makes a list, imports it into a node of its own, exports it, imports that into a second bank, in which two kills
// stop it, and compares. It fails if anything differs from what the list was made of.
func (c *importBenchCmd) Run(ctx context.Context, a *app) (err error) {
	if c.Rows < 4*importPart || !(c.Bad >= 0 && c.Bad <= 100) || c.Flags < 1 || c.Checks < 1 {
		return usagef("--rows, --bad, --flags or --checks: accepted are %d and more, 0 to 100, 1 and more", 4*importPart)
	}
	b := &importBench{importBenchCmd: c, app: a}
	if b.dir, err = os.MkdirTemp("", "vigie-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.data = filepath.Join(b.dir, "node")
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	defer func() { b.end(syscall.SIGTERM) }()
	if err := b.measure(ctx); err != nil {
		return err
	}
	if err := c.publish(a.printer, &b.report); err != nil {
		return err
	}
	return b.report.verdict()
}

// importBench is a run of it. The node and the imports are processes of their own, which can be killed.
type importBench struct {
	*importBenchCmd
	*app
	dir, data, self string
	node            *exec.Cmd // nil: none runs
	client          *client   // of it
	report          importBenchReport
}

// The banks: one that the list is imported into, one that its export is, and one for flags meanwhile.
const (
	benchList  = "list"
	benchAgain = "again"
	benchFlags = "flags"
)

func (b *importBench) measure(ctx context.Context) error {
	r := &b.report
	*r = importBenchReport{Processors: runtime.GOMAXPROCS(0), Rows: b.Rows}
	made, err := b.makeList(b.path("list"))
	if err != nil {
		return err
	}
	r.Planted, r.ListBytes = made, bytesOf(b.path("list"))
	if err := b.begin(ctx); err != nil {
		return fmt.Errorf("bench: start a node: %w", err)
	}
	for _, bank := range []string{benchList, benchAgain, benchFlags} {
		if _, err := ask[v1.Bank](b.client.CreateBank(ctx, v1.NewBank{Name: bank})); err != nil {
			return err
		}
	}
	if b.WithLoad {
		r.Idle = b.load(ctx, after(ctx, min(20*time.Second, time.Duration(b.Rows)*time.Millisecond)))
	}
	if err := b.first(ctx); err != nil {
		return fmt.Errorf("bench: import: %w", err)
	}
	if err := b.export(ctx, benchList, &r.Export); err != nil {
		return fmt.Errorf("bench: export: %w", err)
	}
	if err := b.again(ctx); err != nil {
		return fmt.Errorf("bench: import again: %w", err)
	}
	var second importBenchExport
	if err := b.export(ctx, benchAgain, &second); err != nil {
		return fmt.Errorf("bench: export again: %w", err)
	}
	r.Equal = r.Export == second.of(r.Export)
	b.end(syscall.SIGTERM) // which saves the index, and brings the write-ahead log into the catalogue
	r.Sizes.Catalogue = bytesOf(filepath.Join(b.data, catalogueFile))
	r.Sizes.Text, r.Sizes.Index = bytesOf(filepath.Join(b.data, textFolder)), bytesOf(filepath.Join(b.data, indexFolder))
	return nil
}

func (b *importBench) path(name string) string { return filepath.Join(b.dir, name+".csv") }

// first imports the list, with flags and checks beside it if they are asked for, and waits for the text index.
func (b *importBench) first(ctx context.Context) error {
	r := &b.report
	done := make(chan struct{})
	loaded := make(chan *importBenchLoad, 1)
	watched := make(chan int64, 1)
	go func() {
		if b.WithLoad {
			loaded <- b.load(ctx, done)
		} else {
			loaded <- nil
		}
	}()
	go func() { watched <- b.mostResident(done) }()
	began := time.Now()
	var summary importSummary
	err := b.run(ctx, &summary, "import", "--bank", benchList, b.path("list"))
	r.Import = importBenchRun{Seconds: time.Since(began).Seconds(), Report: summary.importReport}
	close(done)
	r.Live, r.Resident = <-loaded, <-watched
	if err != nil {
		return err
	}
	began = time.Now()
	for { // the index answers when it has seen the last change
		words, seq, one := "flag", summary.Seq, 1
		_, err := ask[v1.Entries](b.client.ListEntries(ctx, &v1.ListEntriesParams{Q: &words, MinSeq: &seq, Limit: &one}))
		var problem *problemError
		if !errors.As(err, &problem) || problem.Status != 503 {
			r.TextBehind = time.Since(began).Seconds()
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// again imports what was exported. The importer is killed when it has read a third, the node when it has read two thirds.
func (b *importBench) again(ctx context.Context) error {
	r := &b.report
	before, err := b.seq(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	args := []string{"import", "--bank", benchAgain, b.path(benchList)}
	if err := b.runUntil(ctx, 1./3, args, func(importer *exec.Cmd) { _ = importer.Process.Kill() }); err != nil {
		return err
	}
	args = append(args, "--resume")
	if err := b.runUntil(ctx, 2./3, args, func(*exec.Cmd) { b.end(syscall.SIGKILL) }); err != nil {
		return err
	}
	if err := b.begin(ctx); err != nil {
		return err
	}
	var summary importSummary
	if err := b.run(ctx, &summary, args...); err != nil {
		return err
	}
	r.Again = importBenchRun{Seconds: time.Since(began).Seconds(), Report: summary.importReport}
	now, err := b.seq(ctx)
	r.Changes = now - before
	return err
}

// export writes a bank as a list.
func (b *importBench) export(ctx context.Context, bank string, e *importBenchExport) error {
	began := time.Now()
	var summary exportSummary
	if err := b.run(ctx, &summary, "export", "--bank", bank, "-o", b.path(bank)); err != nil {
		return err
	}
	f, err := os.Open(b.path(bank))
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	*e = importBenchExport{Seconds: time.Since(began).Seconds(), Entries: summary.Entries, Bytes: n, SHA256: fmt.Sprintf("%x", sum.Sum(nil))}
	return err
}

// seq is the last change that the node has applied.
func (b *importBench) seq(ctx context.Context) (int64, error) {
	ready, err := ask[v1.Readiness](b.client.Ready(ctx))
	if err == nil && ready.IndexSeq == nil {
		err = errors.New("the node is not ready")
	}
	if err != nil {
		return 0, err
	}
	return *ready.IndexSeq, nil
}

// begin starts the node, and connects to it.
func (b *importBench) begin(ctx context.Context) error {
	cmd := b.command(ctx, "serve", "--listen", "127.0.0.1:0", "--log-level", "error")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = b.printer.err
	if err := cmd.Start(); err != nil {
		return err
	}
	b.node = cmd
	var ready readyLine
	if err := json.NewDecoder(stdout).Decode(&ready); err != nil {
		return fmt.Errorf("it ended before it was ready: %w", err)
	}
	local := *b.app
	local.Server, local.Data = "", b.data
	if b.client, err = local.connect(ctx); err == nil {
		b.client.settle()
	}
	return err
}

// end ends the node.
func (b *importBench) end(how syscall.Signal) {
	if b.node == nil {
		return
	}
	_ = b.node.Process.Signal(how)
	_ = b.node.Wait()
	b.node = nil
}

// command is a run of this program on the node's folder.
func (b *importBench) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.self, append(args, "--json", "--data", b.data)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "VIGIE_") })
	cmd.Env = append(cmd.Env, "HOME="+b.dir, "XDG_CACHE_HOME="+filepath.Join(b.dir, "cache"))
	return cmd
}

// run runs a command to its end, and reads the object that it prints.
func (b *importBench) run(ctx context.Context, out any, args ...string) error {
	cmd := b.command(ctx, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// runUntil runs an import until it has read a share of its list, and then does something to stop it.
func (b *importBench) runUntil(ctx context.Context, share float64, args []string, stop func(importer *exec.Cmd)) error {
	cmd := b.command(ctx, args...)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	for b.read() < share {
		select {
		case <-ended:
			return fmt.Errorf("it ended before %.0f %% of the list was read", 100*share)
		case <-time.After(10 * time.Millisecond):
		}
	}
	stop(cmd)
	<-ended
	b.report.Kills++
	return nil
}

// read is the share of a list that a stopped import would not read again.
func (b *importBench) read() float64 {
	files, _ := filepath.Glob(filepath.Join(b.data, "imports", "*.json"))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		var s importState
		if json.Unmarshal(text, &s) == nil && s.Size > 0 {
			return float64(s.Position.Offset) / float64(s.Size)
		}
	}
	return 0
}

// mostResident is the most memory that the node takes until done.
func (b *importBench) mostResident(done <-chan struct{}) (most int64) {
	for {
		most = max(most, residentOf(b.node.Process.Pid))
		select {
		case <-done:
			return most
		case <-time.After(time.Second):
		}
	}
}

// after is closed after a while, or when ctx ends.
func after(ctx context.Context, d time.Duration) <-chan struct{} {
	waiting, cancel := context.WithTimeout(ctx, d)
	context.AfterFunc(waiting, cancel)
	return waiting.Done()
}

// bytesOf is the size of a file, or of all files in a folder; 0 of what cannot be read.
func bytesOf(path string) (n int64) {
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}
