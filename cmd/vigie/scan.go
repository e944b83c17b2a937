package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	v1 "vigie/api/v1"
	"vigie/rescan"
)

type scanCmd struct {
	Folder  string   `arg:"" optional:"" help:"Folder to scan, with all folders below it; or a bucket: s3://bucket/prefix?endpoint=https://s3.example, with its keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."`
	Hashes  string   `help:"Scan a list of PDQ hashes instead: CSV (its first line names columns: pdq or hash, and id, quality), NDJSON or Parquet, by the end of its name." placeholder:"FILE"`
	Bank    []string `help:"Only this bank; may be repeated." placeholder:"NAME"`
	Workers int      `help:"Files checked at a time, or batches of hashes; 0: twice the processors, of batches once." default:"0"`
	Resume  bool     `help:"Go on where a scan of this folder, or list, was stopped."`
	videoFields
	All bool `help:"Print every file, not only those that match or fail (--json prints all)."`
}

// scanSummary is the last line of vigie scan --json.
type scanSummary struct {
	Summary rescan.Summary `json:"summary"`
	Seconds float64        `json:"seconds"`
	Stopped bool           `json:"stopped,omitempty"`
}

// Run scans the folder, with a progress bar if a person is watching.
func (c *scanCmd) Run(ctx context.Context, a *app) error {
	if oneIf(c.Folder != "")+oneIf(c.Hashes != "") != 1 {
		return usagef("scan a folder, or a list of hashes with --hashes: one of them")
	}
	if c.Hashes != "" {
		return c.scanHashes(ctx, a)
	}
	root, source, err := c.source(ctx, a)
	if err != nil {
		return err
	}
	checkpoint, err := c.checkpoint(a, root)
	if err != nil {
		return err
	}
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	node.settle()

	progress := a.progress(ctx, source, checkpoint)
	fields := checkFields(c.Bank, 0)
	c.add(fields)
	fields["past"] = []string{"true"} // what many have posted over the years is no flood
	scan := rescan.Scan[v1.Verdict]{
		Source: source, Checkpoint: checkpoint, Workers: c.Workers,
		Check: func(ctx context.Context, item rescan.Item) (v1.Verdict, error) {
			return node.check(ctx, item.Open, fields)
		},
		Level: func(v v1.Verdict) string { return string(v.Level) },
		Emit: func(r rescan.Result[v1.Verdict]) error {
			defer progress.done(r.Item)
			return c.emit(progress.printer, c.name(r.Item), r)
		},
	}
	if scan.Workers <= 0 {
		scan.Workers = 2 * runtime.GOMAXPROCS(0)
	}
	summary, err := scan.Run(ctx)
	progress.end()
	return c.ended(ctx, a, "files", summary, checkpoint, err)
}

// ended tells how a scan of so many things has ended.
func (c *scanCmd) ended(ctx context.Context, a *app, things string, summary rescan.Summary, checkpoint *rescan.Checkpoint, err error) error {
	stopped := ctx.Err() != nil
	if err != nil && !stopped {
		return err
	}
	if a.json {
		err = a.object(scanSummary{summary, summary.Took.Seconds(), stopped})
	} else {
		a.say("%s", summaryWords(summary, things))
		err = nil
	}
	switch {
	case err != nil:
		return err
	case stopped:
		return fmt.Errorf("stopped; %s", c.goOn(a, checkpoint))
	case summary.Failed > 0:
		return errSomeFailed
	}
	return nil
}

// source is what is scanned, and what its checkpoint is named by.
func (c *scanCmd) source(ctx context.Context, a *app) (root string, _ rescan.Source, err error) {
	if inS3(c.Folder) {
		objects, err := rescan.OpenObjects(ctx, c.Folder)
		if err != nil {
			return "", nil, usageError{err}
		}
		return c.Folder, objects, nil
	}
	if info, err := os.Stat(c.Folder); err != nil {
		return "", nil, usageError{err}
	} else if !info.IsDir() {
		return "", nil, usagef("%s is not a folder; for files there is vigie check", c.Folder)
	}
	if root, err = filepath.Abs(c.Folder); err != nil {
		return "", nil, err
	}
	folder := rescan.Dir(root)
	if own, err := filepath.Abs(a.Data); err == nil && a.Server == "" {
		folder.Without, _ = filepath.Rel(root, own) // Vigie's own files are nobody's uploads
	}
	return root, folder, nil
}

// name is what an item is called in what is printed: a path, or a key of the bucket.
func (c *scanCmd) name(item rescan.Item) string {
	if inS3(c.Folder) {
		return item.Name
	}
	return filepath.Join(c.Folder, item.Name)
}

// checkpoint is where this scan stands: a file in the data folder, or for a node elsewhere in the
// user's cache, named by the folder, the node and the banks. It is nil if there is no place for one.
func (c *scanCmd) checkpoint(a *app, root string) (*rescan.Checkpoint, error) {
	place := filepath.Join(a.Data, "scans")
	if a.Server != "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			if c.Resume {
				return nil, usagef("--resume: %w", err)
			}
			a.warn("%v: if it is stopped, this scan cannot be resumed", err)
			return nil, nil
		}
		place = filepath.Join(cache, "vigie", "scans")
	}
	id := sha256.Sum256([]byte(strings.Join(append([]string{root, a.Server}, c.Bank...), "\x00")))
	path := filepath.Join(place, hex.EncodeToString(id[:8])+".json")
	if !c.Resume {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return nil, err
		}
	}
	checkpoint, err := rescan.OpenCheckpoint(path)
	if err == nil && c.Resume && !checkpoint.Begun() {
		return nil, usagef("--resume: no scan of %s was stopped before its end", cmp.Or(c.Folder, c.Hashes))
	}
	return checkpoint, err
}

// goOn says how to resume: the same command, as a shell reads it.
func (c *scanCmd) goOn(a *app, checkpoint *rescan.Checkpoint) string {
	if checkpoint == nil {
		return "it cannot be resumed"
	}
	return "go on with: " + a.again("--resume")
}

// again is the command as it was given, as a shell reads it, with one more flag if it is not there.
func (a *app) again(flag string) string {
	words := []string{"vigie"}
	for _, w := range a.args {
		if strings.Trim(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+:,./@%") != "" {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words = append(words, w)
	}
	if !slices.Contains(a.args, flag) {
		words = append(words, flag)
	}
	return strings.Join(words, " ")
}

// notTheFile picks errors that every file would meet: a node that is gone or at fault, a key or a bank
// that it does not accept (any more).
func notTheFile(err error) error {
	var gone unreachableError
	var problem *problemError
	switch {
	case errors.As(err, &gone):
		return gone
	case !errors.As(err, &problem), problem.Status == http.StatusNotImplemented: // a format that this node lacks
		return nil
	case problem.Status == http.StatusUnauthorized, problem.Status == http.StatusForbidden,
		problem.Status == http.StatusNotFound, problem.Status >= http.StatusInternalServerError:
		return problem
	}
	return nil
}

// emit prints one result. What is not the file's fault ends the scan, and the checkpoint stays.
func (c *scanCmd) emit(p printer, file string, r rescan.Result[v1.Verdict]) error {
	if why := notTheFile(r.Err); why != nil {
		return fmt.Errorf("%w; when that is mended, go on with --resume", why)
	}
	switch {
	case r.Err != nil:
		p.fileFailed(file, r.Err)
	case p.json || c.All || r.Verdict.Level != v1.LevelNone:
		return showVerdict(p, checkedFile{file, r.Verdict})
	}
	return nil
}

func summaryWords(s rescan.Summary, things string) string {
	var levels []string
	for _, l := range slices.Sorted(maps.Keys(s.Levels)) {
		levels = append(levels, fmt.Sprintf("%d %s", s.Levels[l], l))
	}
	if len(levels) == 0 {
		levels = []string{"none checked"}
	}
	rate := float64(s.Items) / max(s.Took.Seconds(), 0.001)
	size := ""
	if s.Bytes > 0 || things == "files" {
		size = fmt.Sprintf(" (%.1f MB)", float64(s.Bytes)/1e6)
	}
	return fmt.Sprintf("%d %s%s in %s, %.1f a second: %s; %d failed", s.Items, things, size,
		s.Took.Round(10*time.Millisecond), rate, strings.Join(levels, ", "), s.Failed)
}

// progress is the bar of a scan, if a person is watching; otherwise it does nothing.
type progress struct {
	printer
	container *mpb.Progress
	bar       *mpb.Bar
	stop      context.CancelFunc
}

// progress starts the bar. It counts the files in the background: the total grows until it is known.
func (a *app) progress(ctx context.Context, source rescan.Source, from *rescan.Checkpoint) *progress {
	p := &progress{printer: a.printer, stop: func() {}}
	if !a.watched() {
		return p
	}
	var done int64
	var cursor string
	if from != nil {
		done, cursor = from.Summary.Items, from.Cursor
	}
	p.draw(a.err.(*os.File), 0,
		mpb.PrependDecorators(decor.CountersNoUnit("%d of %d files ")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name("  "), decor.AverageSpeed(0, "%.1f/s  "), decor.AverageETA(decor.ET_STYLE_GO)))
	p.bar.SetCurrent(done)
	ctx, p.stop = context.WithCancel(ctx)
	go func() {
		total := done
		for _, err := range source.Items(ctx, cursor) {
			if ctx.Err() != nil || err != nil && total == 0 {
				return
			}
			if total++; total%256 == 0 {
				p.bar.SetTotal(total, false)
			}
		}
		p.bar.SetTotal(total, false)
	}()
	return p
}

// watched reports whether a person is watching.
func (a *app) watched() bool {
	screen, ok := a.err.(*os.File)
	return !a.json && ok && term.IsTerminal(int(screen.Fd()))
}

// draw draws the bar. Lines for people go above it.
func (p *progress) draw(screen *os.File, total int64, options ...mpb.BarOption) {
	p.container = mpb.New(mpb.WithOutput(screen), mpb.WithWidth(48))
	p.bar = p.container.AddBar(total, options...)
	p.printer.out, p.printer.err = p.container, p.container
}

func (p *progress) done(rescan.Item) {
	if p.bar != nil {
		p.bar.Increment()
	}
}

func (p *progress) end() {
	p.stop()
	if p.bar != nil {
		p.bar.Abort(false)
		p.container.Wait()
	}
}
