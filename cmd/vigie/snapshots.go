package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
	objects "vigie/storage/bucket"
)

// openIndex opens the node's saved index, or one that another node has left beside the media, and tells what came of it.
func (c *Config) openIndex(ctx context.Context, store storage.Catalogue, o index.Options, log *slog.Logger) (*index.Index, error) {
	dir, began := filepath.Join(c.Data, indexFolder), time.Now()
	s, err := c.openSnapshots(ctx, log)
	if err != nil {
		log.Warn("snapshots of the index", "error", err)
	}
	if s == nil {
		return matcher.OpenIndex(ctx, store, dir, o)
	}
	defer s.Close()
	x, got, err := s.Open(ctx, store, dir, o)
	if got.Seq > 0 {
		log.Info("snapshot of the index fetched", "seq", got.Seq, "bytes", got.Bytes, "took", time.Since(began).Round(time.Millisecond))
	}
	return x, err
}

// openSnapshots opens the place of snapshots: nodes on one database leave them in the bucket that they share. nil if they share none.
func (c *Config) openSnapshots(ctx context.Context, log *slog.Logger) (*matcher.Snapshots, error) {
	if c.Database == "" || !inS3(c.Media) {
		return nil, nil
	}
	b, err := objects.Open(ctx, c.Media, objects.Options{})
	if err != nil {
		return nil, err
	}
	return matcher.NewSnapshots(b.Folder(objects.Snapshots), func(err error) { log.Warn("snapshots of the index", "error", err) }), nil
}

// leaveSnapshots leaves the saved index in the bucket, for new nodes, whenever it has become another one by much. It returns when ctx ends.
func (c *Config) leaveSnapshots(ctx context.Context, store storage.Catalogue, log *slog.Logger) {
	s, err := c.openSnapshots(ctx, log)
	if err != nil {
		log.Error("snapshots of the index", "error", err)
	}
	if s == nil {
		return
	}
	defer s.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Minute):
		}
		began := time.Now()
		left, err := s.Leave(ctx, store, filepath.Join(c.Data, indexFolder))
		if err != nil && ctx.Err() == nil {
			log.Warn("leave a snapshot of the index for new nodes", "error", err)
		} else if left.Seq > 0 {
			log.Info("snapshot of the index left for new nodes", "seq", left.Seq, "bytes", left.Bytes, "took", time.Since(began).Round(time.Millisecond))
		}
	}
}
