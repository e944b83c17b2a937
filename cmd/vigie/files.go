package main

import (
	"context"
	"errors"
	"io/fs"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// fileError is how commands tell of one file that failed.
type fileError struct {
	File  string `json:"file"`
	Error string `json:"error"`
	Type  string `json:"type,omitempty"` // of the problem, if the node refused
}

// eachFile works on files, several at a time, and shows the results in the order of the files. Files
// that fail are shown and counted; the others go on.
func eachFile[T any](ctx context.Context, p printer, files []string, work func(context.Context, string) (T, error), show func(T) error) error {
	type outcome struct {
		value T
		err   error
	}
	results := make([]chan outcome, len(files))
	for i := range results {
		results[i] = make(chan outcome, 1)
	}
	var workers errgroup.Group
	workers.SetLimit(2 * runtime.GOMAXPROCS(0))
	go func() {
		for i, file := range files {
			workers.Go(func() error {
				v, err := work(ctx, file)
				results[i] <- outcome{v, err}
				return nil
			})
		}
	}()
	failed := false
	for i, file := range files {
		r := <-results[i]
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r.err == nil {
			r.err = show(r.value)
			if r.err != nil {
				return r.err
			}
			continue
		}
		failed = true
		p.fileFailed(file, r.err)
	}
	if failed {
		return errSomeFailed
	}
	return nil
}

// fileFailed tells of a file: as a line of JSON, or on standard error.
func (p printer) fileFailed(file string, err error) {
	e := fileError{File: file, Error: err.Error()}
	var problem *problemError
	var path *fs.PathError
	switch {
	case errors.As(err, &problem):
		e.Type = problem.Type
	case errors.As(err, &path):
		e.Error = path.Err.Error() // the path stands before it already
	}
	if p.json {
		_ = p.object(e)
		return
	}
	p.warn("%s: %s", printable(file), e.Error)
}
