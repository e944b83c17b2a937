package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	v1 "vigie/api/v1"
	"vigie/storage"
)

type rescansCmd struct {
	List     rescansListCmd    `cmd:"" default:"withargs" help:"List re-scans, newest first."`
	Start    rescanStartCmd    `cmd:"" help:"Check all that is in a source."`
	Show     rescanShowCmd     `cmd:"" help:"Show a re-scan; watch it."`
	Cancel   rescanCancelCmd   `cmd:"" help:"End a re-scan; what it has found stays."`
	Resume   rescanResumeCmd   `cmd:"" help:"Go on with a re-scan that was cancelled or has failed."`
	Retry    rescanRetryCmd    `cmd:"" help:"Check again what a re-scan could not check, and nothing else."`
	Hits     rescanHitsCmd     `cmd:"" help:"List what a re-scan found, or write it to a file."`
	Failures rescanFailuresCmd `cmd:"" help:"List what a re-scan could not check."`
}

type rescanID struct {
	ID int64 `arg:"" help:"The re-scan's number."`
}

var rescanHeader = []string{"RESCAN", "PARTY", "SOURCE", "STATE", "DONE", "ITEMS", "MATCH", "LIKELY", "REVIEW", "FAILED", "STARTED"}

func rescanRow(r v1.Rescan) []string {
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	return []string{
		n(r.Id), r.Party, r.Source, string(r.State), share(r), n(r.Counts.Items), n(r.Counts.Match), n(r.Counts.Likely), n(r.Counts.Review),
		n(r.Counts.Failed), r.CreatedAt.Local().Format(stamp),
	}
}

// share is how much of a re-scan is done; of what is planned, if that is not all yet.
func share(r v1.Rescan) string {
	text := fmt.Sprintf("%.0f%%", 100*r.Progress)
	if !r.Planned {
		text += " of what is planned"
	}
	return text
}

type rescansListCmd struct {
	Source *string         `help:"Only of this source." placeholder:"NAME"`
	State  *v1.RescanState `help:"Only in this state: planning, running, done, cancelled or failed." placeholder:"STATE"`
	Limit  int             `help:"At most so many; 0: all." default:"0"`
}

// Run lists re-scans.
func (c *rescansListCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	all := pages(c.Limit, 500, func(cursor *string, limit *int) ([]v1.Rescan, *string, error) {
		type page struct {
			Rescans []v1.Rescan
			Next    *string
		}
		out, err := ask[page](node.ListRescans(ctx, &v1.ListRescansParams{Source: c.Source, State: c.State, Cursor: cursor, Limit: limit}))
		return out.Rescans, out.Next, err
	})
	return stream(a.printer, all, rescanHeader, rescanRow)
}

type rescanStartCmd struct {
	Source    string   `arg:"" help:"Its name; vigie sources lists them."`
	Bank      []string `help:"Only against this bank; may be repeated." placeholder:"NAME"`
	Since     *int64   `help:"Only against entries that have changed after this change of the log." placeholder:"SEQ"`
	SinceLast bool     `help:"Only against entries that have changed since the last re-scan of the source that was done."`
	NewerThan *moment  `help:"Only what was changed in the source after this day or time." placeholder:"TIME"`
	Upright   bool     `help:"Look hashes up as they are, and not mirrored, turned or inverted: in a ninth of the time."`
	Watch     bool     `help:"Watch it until it has ended."`
}

// Run starts a re-scan.
func (c *rescanStartCmd) Run(ctx context.Context, a *app) error {
	if c.Since != nil && c.SinceLast {
		return usagef("--since or --since-last: one of them")
	}
	in := v1.NewRescan{Source: c.Source, Since: c.Since, SinceLast: &c.SinceLast, Upright: &c.Upright}
	if len(c.Bank) > 0 {
		in.Banks = &c.Bank
	}
	if c.NewerThan != nil {
		in.NewerThan = &c.NewerThan.Time
	}
	return a.startRescan(ctx, c.Watch, func(node *client) (*http.Response, error) { return node.StartRescan(ctx, in) })
}

// startRescan shows, or watches, a re-scan that start has begun.
func (a *app) startRescan(ctx context.Context, watch bool, start func(*client) (*http.Response, error)) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	if watch && node.ends() {
		return usagef("--watch: no node runs on %s that would do it; see vigie serve", a.Data)
	}
	r, err := ask[v1.Rescan](start(node))
	if err != nil {
		return err
	}
	if watch {
		return a.watchRescan(ctx, node, r)
	}
	if a.json {
		return a.object(r)
	}
	a.say("re-scan %d of %s has begun: vigie rescans show --watch %d", r.Id, printable(r.Source), r.Id)
	if node.ends() {
		a.say("No node runs on %s now: it goes on when one does.", a.Data)
	}
	return nil
}

type rescanShowCmd struct {
	rescanID
	Watch bool `help:"Watch it until it has ended."`
}

// Run shows a re-scan.
func (c *rescanShowCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	r, err := ask[v1.Rescan](node.GetRescan(ctx, c.ID, nil))
	if err != nil {
		return err
	}
	if c.Watch && !ended(r) {
		return a.watchRescan(ctx, node, r)
	}
	return a.showRescan(r)
}

func ended(r v1.Rescan) bool { return storage.RescanState(r.State).Ended() }

// showRescan prints a re-scan; one that has failed is an error.
func (a *app) showRescan(r v1.Rescan) error {
	if a.json {
		if err := a.object(r); err != nil {
			return err
		}
	} else {
		a.say("re-scan %d of %s for %s: %s, %s done", r.Id, printable(r.Source), printable(r.Party), r.State, share(r))
		a.say("against entries as of change %d%s", r.Seq, sinceWords(r.Since))
		n := r.Counts
		a.say("%s (%.1f MB): %d match, %d likely, %d for review, %d none, %d failed", plural(int(n.Items), "item"), float64(n.Bytes)/1e6, n.Match, n.Likely, n.Review, n.None, n.Failed)
		if r.FinishedAt != nil && r.StartedAt != nil {
			took := r.FinishedAt.Sub(*r.StartedAt)
			a.say("took %s, %.1f a second", took.Round(10*time.Millisecond), float64(n.Items)/max(took.Seconds(), 0.001))
		}
	}
	if why := value(r.Error); why != "" {
		a.warn("re-scan %d: %s", r.Id, printable(why))
	}
	if r.State == v1.Failed {
		return errSomeFailed
	}
	return nil
}

func sinceWords(seq int64) string {
	if seq == 0 {
		return ""
	}
	return fmt.Sprintf(", if they have changed after change %d", seq)
}

// watchRescan shows a re-scan until it has ended: with bars if a person is watching, as a line of JSON for each step with --json. What
// breaks off is asked for again.
func (a *app) watchRescan(ctx context.Context, node *client, r v1.Rescan) error {
	node.settle()
	view := a.viewRescan(r)
	defer view.end()
	for told := false; ; {
		last, err := node.followRescan(ctx, r.Id, func(r v1.Rescan) error {
			told = false
			view.show(r)
			if a.json && !ended(r) {
				return a.object(r)
			}
			return nil
		})
		switch {
		case ctx.Err() != nil:
			view.end()
			a.say("re-scan %d goes on: vigie rescans show --watch %d; vigie rescans cancel %d ends it", r.Id, r.Id, r.Id)
			return nil
		case err == nil:
			view.end()
			return a.showRescan(last)
		case !broken(err):
			return err
		case !told:
			a.warn("%v; trying again", err)
			told = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(feedPause):
		}
	}
}

// followRescan calls step for a re-scan whenever it has come farther, and returns it when it has ended.
func (n *client) followRescan(ctx context.Context, id int64, step func(v1.Rescan) error) (last v1.Rescan, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(feedSilence, cancel)
	defer silence.Stop()
	accept := "text/event-stream"
	response, err := n.GetRescan(ctx, id, &v1.GetRescanParams{Accept: &accept})
	if err != nil || response.StatusCode != http.StatusOK {
		return ask[v1.Rescan](response, err)
	}
	defer response.Body.Close()
	name := ""
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		silence.Reset(feedSilence)
		if text, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			name = text
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if name == "problem" {
			var p v1.Problem
			_ = json.Unmarshal([]byte(data), &p)
			return last, &problemError{Problem: p}
		}
		if err := json.Unmarshal([]byte(data), &last); err != nil {
			return last, fmt.Errorf("the node's answer is not as the contract says: %w", err)
		}
		if err := step(last); err != nil || name == "end" {
			return last, err
		}
	}
	return last, unreachableError{errors.Join(errors.New("the node's answer breaks off"), lines.Err())}
}

// rescanView is the bar of a re-scan, if a person is watching; otherwise it does nothing.
type rescanView struct {
	container *mpb.Progress
	bar       *mpb.Bar
	now       atomic.Pointer[v1.Rescan] // the bars are drawn by another goroutine
	began     time.Time
	from      v1.Rescan // as it was when it was first looked at
}

// parts is the length of the bar.
const parts = 10_000

func (a *app) viewRescan(r v1.Rescan) *rescanView {
	v := &rescanView{from: r, began: time.Now()}
	v.now.Store(&r)
	if !a.watched() {
		return v
	}
	v.container = mpb.New(mpb.WithOutput(a.err.(*os.File)), mpb.WithWidth(40))
	words := func(text func(v1.Rescan) string) decor.Decorator {
		return decor.Any(func(s decor.Statistics) string { return text(*v.now.Load()) })
	}
	v.bar = v.container.AddBar(parts,
		mpb.PrependDecorators(words(func(r v1.Rescan) string { return fmt.Sprintf("%-9s", r.State) })),
		mpb.AppendDecorators(words(func(r v1.Rescan) string {
			return fmt.Sprintf("%5.1f%% of %d shards  %d items  %.0f/s  %s", 100*r.Progress, r.Shards, r.Counts.Items, v.rate(), v.left())
		})),
		mpb.BarExtender(mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
			n := v.now.Load().Counts
			_, err := fmt.Fprintf(w, "%d match  %d likely  %d review  %d none  %d failed\n", n.Match, n.Likely, n.Review, n.None, n.Failed)
			return err
		}), false),
	)
	return v
}

// rate is how many items are checked a second, since it is watched.
func (v *rescanView) rate() float64 {
	return float64(v.now.Load().Counts.Items-v.from.Counts.Items) / max(time.Since(v.began).Seconds(), 1)
}

// left is how long it will take, once all is planned.
func (v *rescanView) left() string {
	now := v.now.Load()
	done := float64(now.Progress - v.from.Progress)
	if !now.Planned || done <= 0 {
		return "ETA -"
	}
	took := time.Since(v.began).Seconds()
	return "ETA " + (time.Duration(took*float64(1-now.Progress)/done) * time.Second).String()
}

func (v *rescanView) show(r v1.Rescan) {
	if v.bar != nil {
		v.bar.SetCurrent(int64(parts * r.Progress))
	}
	v.now.Store(&r)
}

func (v *rescanView) end() {
	if v.bar != nil {
		v.bar.Abort(false)
		v.container.Wait()
		v.bar = nil
	}
}

type rescanCancelCmd struct{ rescanID }

// Run cancels a re-scan.
func (c *rescanCancelCmd) Run(ctx context.Context, a *app) error {
	return a.changeRescan(ctx, func(node *client) (v1.Rescan, error) { return ask[v1.Rescan](node.CancelRescan(ctx, c.ID)) })
}

type rescanResumeCmd struct{ rescanID }

// Run resumes a re-scan.
func (c *rescanResumeCmd) Run(ctx context.Context, a *app) error {
	return a.changeRescan(ctx, func(node *client) (v1.Rescan, error) { return ask[v1.Rescan](node.ResumeRescan(ctx, c.ID)) })
}

type rescanRetryCmd struct {
	rescanID
	Watch bool `help:"Watch it until it has ended."`
}

// Run starts a re-scan of failures.
func (c *rescanRetryCmd) Run(ctx context.Context, a *app) error {
	return a.startRescan(ctx, c.Watch, func(node *client) (*http.Response, error) { return node.RetryRescan(ctx, c.ID) })
}

func (a *app) changeRescan(ctx context.Context, change func(*client) (v1.Rescan, error)) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	r, err := change(node)
	if err != nil {
		return err
	}
	return list(a.printer, []v1.Rescan{r}, rescanHeader, rescanRow)
}

type rescanHitsCmd struct {
	ID     int64         `arg:"" optional:"" help:"The re-scan's number."`
	Entry  int64         `help:"Instead of one re-scan's: what those of your party have found because of this entry." placeholder:"ENTRY"`
	Format v1.ListFormat `help:"All of them as a file: ndjson, csv or parquet." placeholder:"FORMAT"`
	Out    string        `help:"Write the file here, instead of to standard output; it must not exist." placeholder:"FILE"`
	Limit  int           `help:"List at most so many; 0: all." default:"0"`
}

// Run lists hits, or writes them to a file.
func (c *rescanHitsCmd) Run(ctx context.Context, a *app) error {
	switch {
	case oneIf(c.ID != 0)+oneIf(c.Entry != 0) != 1:
		return usagef("name a re-scan by its number, or an entry with --entry: one of them")
	case c.Entry != 0 && c.Format != "":
		return usagef("--format: files are of one re-scan; with --entry there is --json")
	case c.Out != "" && c.Format == "":
		return usagef("--out: a file needs a --format: ndjson, csv or parquet")
	}
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	switch {
	case c.Format != "":
		return c.file(ctx, a, node)
	case c.Entry != 0:
		return c.ofEntry(ctx, a, node)
	}
	hits := pages(c.Limit, 500, func(cursor *string, limit *int) ([]v1.RescanHit, *string, error) {
		type page struct {
			Hits []v1.RescanHit
			Next *string
		}
		out, err := ask[page](node.ListRescanHits(ctx, c.ID, &v1.ListRescanHitsParams{Cursor: cursor, Limit: limit}))
		return out.Hits, out.Next, err
	})
	return stream(a.printer, hits, []string{"LEVEL", "ACTION", "ENTRIES", "ITEM"}, func(h v1.RescanHit) []string {
		var v v1.Verdict
		_ = json.Unmarshal(h.Verdict, &v) // what cannot be read names no entries
		return []string{string(h.Level), string(h.Action), entryWords(v.Matches), h.Item}
	})
}

// ofEntry lists what re-scans have found because of an entry.
func (c *rescanHitsCmd) ofEntry(ctx context.Context, a *app, node *client) error {
	hits := pages(c.Limit, 500, func(cursor *string, limit *int) ([]v1.EntryRescanHit, *string, error) {
		type page struct {
			Hits []v1.EntryRescanHit
			Next *string
		}
		out, err := ask[page](node.ListEntryRescanHits(ctx, c.Entry, &v1.ListEntryRescanHitsParams{Cursor: cursor, Limit: limit}))
		return out.Hits, out.Next, err
	})
	return stream(a.printer, hits, []string{"RESCAN", "LEVEL", "ACTION", "ITEM"}, func(h v1.EntryRescanHit) []string {
		return []string{strconv.FormatInt(h.Rescan, 10), string(h.Level), string(h.Action), h.Item}
	})
}

// entryWords name the first few entries of a verdict.
func entryWords(matches []v1.Match) string {
	const few = 3
	var words []string
	for _, m := range matches[:min(few, len(matches))] {
		words = append(words, fmt.Sprintf("%d of %s", m.Entry, m.Bank))
	}
	if more := len(matches) - few; more > 0 {
		words = append(words, fmt.Sprintf("%d more", more))
	}
	return strings.Join(words, ", ")
}

func (c *rescanHitsCmd) file(ctx context.Context, a *app, node *client) error {
	to, end := a.out, func() error { return nil }
	if c.Out != "" {
		f, err := os.OpenFile(c.Out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return usagef("--out: %w", err)
		}
		defer f.Close()
		to, end = f, f.Close
	}
	response, err := node.ListRescanHits(ctx, c.ID, &v1.ListRescanHitsParams{Format: &c.Format})
	if err == nil && response.StatusCode == http.StatusOK {
		defer response.Body.Close()
		if _, err = io.Copy(to, response.Body); err != nil {
			err = fmt.Errorf("the node's answer breaks off, and the file is not whole: %w", err)
		}
		return errors.Join(err, end())
	}
	_, err = ask[struct{}](response, err)
	if c.Out != "" {
		_ = os.Remove(c.Out)
	}
	return err
}

type rescanFailuresCmd struct {
	rescanID
	Limit int `help:"At most so many; 0: all." default:"0"`
}

// Run lists what could not be checked.
func (c *rescanFailuresCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	failures := pages(c.Limit, 500, func(cursor *string, limit *int) ([]v1.RescanFailure, *string, error) {
		type page struct {
			Failures []v1.RescanFailure
			Next     *string
		}
		out, err := ask[page](node.ListRescanFailures(ctx, c.ID, &v1.ListRescanFailuresParams{Cursor: cursor, Limit: limit}))
		return out.Failures, out.Next, err
	})
	return stream(a.printer, failures, []string{"ITEM", "ERROR"}, func(f v1.RescanFailure) []string { return []string{f.Item, f.Error} })
}

type sourcesCmd struct{}

// Run lists the sources that the node knows.
func (sourcesCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	out, err := ask[struct{ Sources []v1.RescanSource }](node.ListSources(ctx))
	if err != nil {
		return err
	}
	return list(a.printer, out.Sources, []string{"SOURCE", "KIND", "PARTY"}, func(s v1.RescanSource) []string { return []string{s.Name, string(s.Kind), s.Party} })
}
