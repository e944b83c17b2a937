package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "vigie/api/v1"
	"vigie/exchange"
	"vigie/hashing"
	"vigie/rescan"
)

type importCmd struct {
	File             string `arg:"" help:"List to read; its formats are explained in docs/exchange.md."`
	Bank             string `required:"" help:"Bank that it is flagged into." placeholder:"NAME"`
	Format           string `help:"csv, ndjson, tx-csv or local-file; found out if left out." placeholder:"FORMAT"`
	Algorithm        string `help:"Algorithm of hashes whose list names none." placeholder:"NAME"`
	Source           string `help:"Name of the list, where its rows name none; kept with each entry." placeholder:"NAME"`
	DryRun           bool   `help:"Say what would become of the rows, and store nothing."`
	Resume           bool   `help:"Go on where an import of this file was stopped."`
	DespiteKnownGood bool   `help:"Take also what is near a known-good entry."`
}

const (
	// importPart is how many rows are sent at a time: a step that a resumed import repeats at most.
	importPart, importBytes = 1000, 1 << 20
	// A dry run, in which the node remembers a part to tell what repeats it, sends as many as a request may have.
	dryPart, dryBytes = 100_000, 64 << 20
)

// importReport is what became of a list, so far.
type importReport struct {
	exchange.Report
	Created int   `json:"created"`
	Sourced int   `json:"sourced"`
	Same    int   `json:"same"`
	Seq     int64 `json:"seq"`
	// Noted are labels that labels here cannot say.
	Noted int `json:"noted,omitempty"`
	// RepeatsUnseen says that a dry run took rows for new that repeat others, if there are such.
	RepeatsUnseen bool `json:"repeats_unseen,omitempty"`
}

// importState is what a stopped import leaves to the next one.
type importState struct {
	exchange.Checkpoint
	Modified time.Time    `json:"modified"` // of the file
	Report   importReport `json:"report"`
}

// importSummary is what vigie import --json prints.
type importSummary struct {
	importReport
	DryRun   bool     `json:"dry_run,omitempty"`
	Seconds  float64  `json:"seconds"`
	Stopped  bool     `json:"stopped,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// Run reads the list and sends it in parts. Rows that cannot be read or are not taken are counted by reason, and the rest
// goes on.
func (c *importCmd) Run(ctx context.Context, a *app) error {
	file, err := openRegular(c.File)
	if err != nil {
		return usageError{err}
	}
	defer file.Close()
	job, err := c.begin(a, file)
	if err != nil {
		return err
	}
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	node.settle()

	began := time.Now()
	bar := a.meter("read", job.state.Size, true)
	bar.set(job.state.Position.Offset)
	err = job.run(ctx, node, bar)
	bar.end()
	stopped := ctx.Err() != nil
	for _, w := range job.list.Warnings() {
		a.warn("%s", w)
	}
	if n := job.state.Report.Noted; n > 0 {
		a.warn("%d labels are none of the vocabulary, or none at all: new entries have them in their notes", n)
	}
	if job.state.Report.RepeatsUnseen {
		a.warn("what stands twice in a list as long as this counts as new, where it stands far apart")
	}
	if err != nil && job.path != "" && (stopped || notTheFile(err) != nil) {
		if stopped {
			err = errors.New("stopped")
		}
		err = fmt.Errorf("%w; go on with: %s", err, a.again("--resume"))
	}
	report := job.state.Report
	if a.json {
		err = errors.Join(err, a.object(importSummary{report, c.DryRun, time.Since(began).Seconds(), stopped, job.list.Warnings()}))
	} else {
		would := ""
		if c.DryRun {
			would = "would be "
		}
		a.say("%s\n%s%d new, %d had already and got the source, %d had from this very source; %.0f rows a second", &report.Report,
			would, report.Created, report.Sourced, report.Same, float64(report.Read-job.before)/max(time.Since(began).Seconds(), 0.001))
	}
	return err
}

// importJob is one run over a list.
type importJob struct {
	c      *importCmd
	list   *exchange.Reader
	path   string // of the state; empty: none is kept
	state  importState
	before int64 // rows that were read by earlier runs
	part   bytes.Buffer
	writer *exchange.Writer
	lines  []int // of the rows in part
	sent   bool  // the node has had rows in a request before
}

// begin opens the list where it is to be read.
func (c *importCmd) begin(a *app, file *os.File) (*importJob, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	format := exchange.Format(c.Format)
	if c.Format == "" {
		first := make([]byte, exchange.DetectBytes)
		n, err := file.ReadAt(first, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if format, err = exchange.Detect(filepath.Base(c.File), first[:n]); err != nil {
			return nil, usagef("%s: %w", c.File, err)
		}
	}
	j := &importJob{c: c}
	if j.state.Checkpoint, err = exchange.NewCheckpoint(file, info.Size(), format); err != nil {
		return nil, err
	}
	j.state.Modified = info.ModTime().UTC()
	var o exchange.ReadOptions
	if c.Algorithm != "" {
		if o.Algorithm, err = hashing.ParseAlgorithm(c.Algorithm); err != nil {
			return nil, usagef("--algorithm: %w", err)
		}
	}
	if !c.DryRun {
		if err := c.findState(a, j); err != nil {
			return nil, err
		}
	} else if c.Resume {
		return nil, usagef("--dry-run and --resume: a dry run leaves nothing to resume")
	}
	o.From, j.before = j.state.Position, j.state.Report.Read
	if j.list, err = exchange.NewReader(io.NewSectionReader(file, 0, info.Size()), format, o); err != nil {
		return nil, usagef("%s: %w", c.File, err)
	}
	return j, nil
}

// findState finds the place of this import's state, and what an earlier one has left there.
func (c *importCmd) findState(a *app, j *importJob) error {
	place := filepath.Join(a.Data, "imports")
	if a.Server != "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			a.warn("%v: if it is stopped, this import cannot be resumed", err)
			return nil
		}
		place = filepath.Join(cache, "vigie", "imports")
	}
	file, err := filepath.Abs(c.File)
	if err != nil {
		return err
	}
	id := sha256.Sum256([]byte(strings.Join([]string{file, a.Server, c.Bank, c.Source, c.Algorithm, strconv.FormatBool(c.DespiteKnownGood)}, "\x00")))
	j.path = filepath.Join(place, hex.EncodeToString(id[:8])+".json")
	if !c.Resume {
		return nil
	}
	text, err := os.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("--resume: no import of %s into %s, with these options, was stopped before its end", c.File, c.Bank)
	}
	var left importState
	if err == nil {
		err = json.Unmarshal(text, &left)
	}
	if err != nil {
		return fmt.Errorf("read what the stopped import left: %w", err)
	}
	begun := j.state
	j.state = left
	if j.state.Position, err = left.Resume(begun.Checkpoint); err != nil {
		return usagef("--resume: %w", err)
	}
	if !left.Modified.Equal(begun.Modified) {
		return usagef("--resume: %s was changed since its import stopped: begin anew, which doubles nothing", c.File)
	}
	return nil
}

// run sends the list part by part, and notes before each how far it is.
func (j *importJob) run(ctx context.Context, node *client, bar *meter) error {
	for {
		if err := j.save(); err != nil {
			return err
		}
		end, err := j.fill(ctx)
		if err != nil {
			return err
		}
		if err := j.send(ctx, node); err != nil {
			return err
		}
		j.state.Position = j.list.Position()
		bar.set(j.state.Position.Offset)
		if end {
			break
		}
	}
	if read := j.state.Position.Offset; read < j.state.Size {
		return fmt.Errorf("the file was cut short meanwhile: it had %d bytes, and ended after %d", j.state.Size, read)
	}
	if j.path != "" {
		if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (j *importJob) save() error {
	if j.path == "" {
		return nil
	}
	text, err := json.Marshal(j.state)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(j.path), 0o700)
	}
	if err == nil {
		err = rescan.ReplaceFile(j.path, text)
	}
	if err != nil {
		return fmt.Errorf("note how far the import is: %w", err)
	}
	return nil
}

// fill reads the rows of the next part. What cannot be read is counted when the part is.
func (j *importJob) fill(ctx context.Context) (end bool, err error) {
	j.part.Reset()
	j.lines = j.lines[:0]
	if j.writer, err = exchange.NewWriter(&j.part, exchange.NDJSON); err != nil {
		return false, err
	}
	rows, size := importPart, importBytes
	if j.c.DryRun {
		rows, size = dryPart, dryBytes
	}
	for n := 0; n < rows && j.part.Len() < size; n++ {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		item, err := j.list.Next()
		var bad *exchange.RowError
		switch {
		case errors.Is(err, io.EOF):
			return true, j.writer.Close()
		case errors.As(err, &bad):
			j.state.Report.Skip(bad)
			continue
		case err != nil:
			return false, err
		}
		if err := j.writer.Write(item); errors.As(err, &bad) {
			bad.Line = j.list.Line()
			j.state.Report.Skip(bad)
			continue
		} else if err != nil {
			return false, err
		}
		j.state.Report.Noted += item.Noted
		j.lines = append(j.lines, j.list.Line())
	}
	return false, j.writer.Close()
}

// send sends a part. A node that is busy gets the rest of it again; see insist.
func (j *importJob) send(ctx context.Context, node *client) error {
	if len(j.lines) == 0 {
		return nil
	}
	format, c := v1.FlagListParamsFormat(exchange.NDJSON), j.c
	params := &v1.FlagListParams{Format: &format, DryRun: &c.DryRun, DespiteKnownGood: &c.DespiteKnownGood}
	if c.Source != "" {
		params.Source = &c.Source
	}
	_, err := insist(ctx, func() (v1.ListReport, error) {
		out, err := ask[v1.ListReport](node.FlagListWithBody(ctx, c.Bank, params, "application/x-ndjson", bytes.NewReader(j.part.Bytes())))
		if err != nil {
			return out, err
		}
		j.count(out)
		j.sent = j.sent || out.Ended == nil || out.Read > 0
		if out.Ended != nil {
			err = &problemError{Problem: *out.Ended}
		}
		return out, err
	})
	return err
}

// count adds what became of the rows of a part, or the first of them, to the report, and takes them out of the part.
func (j *importJob) count(out v1.ListReport) {
	r := &j.state.Report
	r.Created, r.Sourced, r.Same, r.Seq = r.Created+out.Created, r.Sourced+out.Sourced, r.Same+out.Same, max(r.Seq, out.Seq)
	r.Noted += out.Noted
	r.RepeatsUnseen = r.RepeatsUnseen || j.c.DryRun && j.sent || value(out.RepeatsUnseen)
	for range out.Created + out.Sourced + out.Same {
		r.Add()
	}
	told := map[string]int{}
	for _, row := range out.Rows {
		told[row.Reason]++
		bad := exchange.RowError{Reason: exchange.Reason(row.Reason)}
		if row.Line >= 1 && row.Line <= len(j.lines) {
			bad.Line = j.lines[row.Line-1]
		}
		if row.Column != nil {
			bad.Column = *row.Column
		}
		r.Skip(&bad)
	}
	for reason, rows := range out.Reasons { // more than are told one by one
		for range rows - told[reason] {
			r.Skip(&exchange.RowError{Reason: exchange.Reason(reason)})
		}
	}
	for range min(out.Read, len(j.lines)) {
		_, _ = j.part.ReadBytes('\n') // each has one line
	}
	j.lines = j.lines[min(out.Read, len(j.lines)):]
}
