package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"vigie/api"
	"vigie/index"
	objects "vigie/storage/bucket"
	"vigie/storage/history"
)

// historyFolder has the files of the upload history, unless media are in S3: then they are there, too. What is not in files yet is in the
// folder uploads, a journal.
const historyFolder = "history"

// openHistory opens the upload history of a node that may take so much memory; 0: any. A command has no window but what is not in
// files.
func (n *node) openHistory(ctx context.Context, c *Config, memory int64, serving bool, log *slog.Logger) (err error) {
	o := history.Options{
		Scan: index.ScanFlat, WindowBytes: 1, Shared: inS3(c.Media), Fault: seldom(time.Minute, func(err error) { log.Error("upload history", "error", err) }),
	}
	if serving {
		o.WindowBytes = 1 << 30
		if memory > 0 {
			o.WindowBytes = min(o.WindowBytes, memory/8)
		}
	}
	files, err := c.openUploads(ctx)
	n.uploads = files
	if err != nil {
		return err
	}
	if files.former != nil {
		o.Former = files.former
	}
	n.history, err = history.Open(c.Data, files.Store, o)
	return err
}

// uploads is where the files of the history are: in a folder of the node, or in the bucket that nodes share.
type uploads struct {
	history.Store                 // to be read alone, nil: there is no bucket
	former        *history.Folder // of this node: what it kept before it had a bucket, or all that is to be read; nil: nothing
	close         []io.Closer
}

// Close releases what was opened.
func (u uploads) Close() (err error) {
	for _, c := range u.close {
		err = errors.Join(err, c.Close())
	}
	return err
}

// openUploads opens the place of the history's files, to write to it.
func (c *Config) openUploads(ctx context.Context) (u uploads, err error) {
	dir := filepath.Join(c.Data, historyFolder)
	if !inS3(c.Media) {
		folder, err := history.OpenFolder(dir)
		if err != nil {
			return u, err
		}
		return uploads{Store: folder, close: []io.Closer{folder}}, nil
	}
	if u, err = c.uploadsInBucket(ctx); err != nil {
		return u, err
	}
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return u, nil
	}
	if u.former, err = history.OpenFolder(dir); err == nil {
		u.close = append(u.close, u.former)
	}
	return u, err
}

// uploadsToRead opens the place of the history's files beside the nodes that it belongs to. It may be that there is none yet.
func (c *Config) uploadsToRead(ctx context.Context) (u uploads, err error) {
	if inS3(c.Media) {
		if u, err = c.uploadsInBucket(ctx); err != nil {
			return u, err
		}
	}
	u.former, err = history.OpenToRead(filepath.Join(c.Data, historyFolder))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return u, nil
	case err != nil:
		return u, errors.Join(err, u.Close())
	}
	u.close = append(u.close, u.former)
	return u, nil
}

func (c *Config) uploadsInBucket(ctx context.Context) (u uploads, err error) {
	b, err := objects.Connect(ctx, c.Media, objects.Options{})
	if err != nil {
		return u, err
	}
	return uploads{Store: history.OpenBucket(b.Folder(objects.Uploads)), close: []io.Closer{b}}, nil
}

// lookBack searches past uploads for what becomes known, until ctx ends. With a database that other nodes may have, files
// in this node's folder are its own to search: jobs are done by any node.
func (n *node) lookBack(ctx context.Context, c *Config) {
	engine := n.work.engine
	if c.Database != "" && !n.history.Shared() {
		engine = nil
	}
	_ = n.matcher.LookBack(ctx, engine)
}

// historyGauges are the numbers of the history.
func historyGauges(m *api.Metrics, n *node) {
	stats := func(add func(name, help string, read func() float64), name, help string, read func(history.Stats) float64) {
		add("vigie_uploads_"+name, help, func() float64 { return read(n.history.Stats()) })
	}
	stats(m.Counter, "kept_total", "Uploads that the history has acknowledged.", func(s history.Stats) float64 { return float64(s.Journal.Appended) })
	stats(m.Gauge, "unsealed_records", "Uploads that are not in files yet.", func(s history.Stats) float64 { return float64(s.Journal.Backlog) })
	stats(m.Gauge, "unsealed_bytes", "What they take on disk.", func(s history.Stats) float64 { return float64(s.Journal.Bytes) })
	stats(m.Gauge, "window_rows", "Uploads in the window, in memory.", func(s history.Stats) float64 { return float64(s.Window.Rows) })
	stats(m.Gauge, "window_bytes", "What they take of memory.", func(s history.Stats) float64 { return float64(s.Window.Bytes) })
	m.Counter("vigie_lookback_cut_total", "Searches for past uploads, in the window or a file, that found more than are told: not all that match come as matches.",
		func() float64 { return float64(n.matcher.LookbackCuts()) })
	m.Gauge("vigie_lookback_seq", "The last change of the log for which this node has looked among its past uploads; its lag is vigie_log_head minus it.", func() float64 {
		seq, _ := n.matcher.Looked()
		return float64(seq)
	})
}
