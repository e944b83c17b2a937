package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/rescan"
)

// hashesAtOnce is how many hashes of a list are sent as one batch.
const hashesAtOnce = 1000

// scanHashes checks a list of hashes, as the folder is checked otherwise.
func (c *scanCmd) scanHashes(ctx context.Context, a *app) error {
	root, err := filepath.Abs(c.Hashes)
	if err != nil {
		return err
	}
	list, err := rescan.OpenHashFile(ctx, root, hashesAtOnce)
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", c.Hashes, err)}
	}
	checkpoint, err := c.checkpoint(a, root+"\x00"+list.Version())
	if err != nil {
		return err
	}
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	node.settle()
	progress := a.hashProgress(list, checkpoint)
	scan := rescan.Scan[[]hashAnswer]{
		Source: list, Checkpoint: checkpoint, Workers: cmp.Or(c.Workers, runtime.GOMAXPROCS(0)),
		Check: func(ctx context.Context, item rescan.Item) ([]hashAnswer, error) {
			return node.checkHashes(ctx, item.Hashes, c.Bank)
		},
		Emit: func(r rescan.Result[[]hashAnswer]) error {
			if r.Err != nil {
				return fmt.Errorf("%w; when that is mended, go on with --resume", r.Err)
			}
			defer progress.passed(r.Item)
			for i, row := range r.Item.Hashes {
				one := rescan.Result[v1.Verdict]{Verdict: r.Verdict[i].Verdict, Err: r.Verdict[i].err}
				if err := c.emit(progress.printer, row.ID, one); err != nil {
					return err
				}
			}
			return nil
		},
		Count: func(s *rescan.Summary, r rescan.Result[[]hashAnswer]) {
			for _, answer := range r.Verdict {
				s.Items++
				if answer.err != nil {
					s.Failed++
				} else {
					s.Levels[string(answer.Level)]++
				}
			}
		},
	}
	summary, err := scan.Run(ctx)
	progress.end()
	return c.ended(ctx, a, "hashes", summary, checkpoint, err)
}

// hashAnswer is what became of one hash.
type hashAnswer struct {
	v1.Verdict
	err error // of this hash alone
}

// checkHashes has hashes checked as one batch. From a line that the node is too busy for it goes on with another batch.
func (c *client) checkHashes(ctx context.Context, rows []rescan.HashRow, banks []string) (answers []hashAnswer, err error) {
	_, err = insist(ctx, func() (struct{}, error) {
		var body bytes.Buffer
		lines := json.NewEncoder(&body)
		for _, row := range rows[len(answers):] {
			if row.Err == nil {
				if err := lines.Encode(checkOf(row.Hash, banks)); err != nil {
					return struct{}{}, err
				}
			}
		}
		response, err := c.CheckBatchWithBody(ctx, "application/x-ndjson", &body)
		if err != nil || response.StatusCode != 200 {
			return ask[struct{}](response, err)
		}
		defer response.Body.Close()
		all := json.NewDecoder(response.Body)
		for len(answers) < len(rows) {
			if why := rows[len(answers)].Err; why != nil {
				answers = append(answers, hashAnswer{err: why})
				continue
			}
			var line struct {
				v1.Verdict
				Problem *v1.Problem `json:"problem"`
			}
			if err := all.Decode(&line); err != nil {
				return struct{}{}, unreachableError{fmt.Errorf("the node's answer breaks off: %w", noEnd(err))}
			}
			if line.Problem == nil {
				answers = append(answers, hashAnswer{Verdict: line.Verdict})
				continue
			}
			problem := &problemError{Problem: *line.Problem}
			if notTheFile(problem) != nil || problem.Status == 429 {
				return struct{}{}, problem
			}
			answers = append(answers, hashAnswer{err: problem})
		}
		return struct{}{}, nil
	})
	return answers, err
}

// noEnd is the end of an answer that should not be there yet.
func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func checkOf(s hashing.Signal, banks []string) v1.CheckSignals {
	one := v1.Signal{Algorithm: v1.Algorithm(s.Algorithm.String()), Value: s.Hex()}
	if s.Quality != hashing.QualityUnknown {
		one.Quality = new(int(s.Quality))
	}
	in := v1.CheckSignals{Signals: v1.Signals{one}, Past: new(true)}
	if len(banks) > 0 {
		in.Banks = &banks
	}
	return in
}

// hashProgress is the bar of a list, if a person is watching.
type hashProgress struct {
	*progress
	list rescan.HashFile
	rows atomic.Int64 // the bar is drawn by another goroutine
}

func (a *app) hashProgress(list rescan.HashFile, from *rescan.Checkpoint) *hashProgress {
	p := &hashProgress{progress: &progress{printer: a.printer, stop: func() {}}, list: list}
	if !a.watched() {
		return p
	}
	began, before := time.Now(), int64(0)
	if from != nil {
		before = from.Summary.Items
	}
	p.rows.Store(before)
	p.draw(a.err.(*os.File), parts,
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return fmt.Sprintf("%d hashes ", p.rows.Load()) })),
		mpb.AppendDecorators(decor.Percentage(), decor.Any(func(decor.Statistics) string {
			return fmt.Sprintf("  %.0f/s  ", float64(p.rows.Load()-before)/max(time.Since(began).Seconds(), 1))
		}), decor.AverageETA(decor.ET_STYLE_GO)))
	if from != nil {
		p.bar.SetCurrent(int64(parts * list.Share(from.Cursor)))
	}
	return p
}

func (p *hashProgress) passed(item rescan.Item) {
	if p.bar != nil {
		p.rows.Add(int64(len(item.Hashes)))
		p.bar.SetCurrent(int64(parts * p.list.Share(item.Place)))
	}
}
