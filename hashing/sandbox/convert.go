package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"

	"vigie/hashing"
	"vigie/hashing/decode"
)

// converter is the external program that makes a JPEG of a HEIC.
type converter struct {
	program string
	missing error // a *hashing.MediaError, if there is none
	running *semaphore.Weighted
}

func findConverter(o Options) converter {
	c := converter{running: semaphore.NewWeighted(int64(o.Children))}
	c.program, c.missing = FindProgram(o.Converter, "libheif-examples")
	return c
}

// What heif-convert takes: it and its libraries, and for each pixel the picture, its copy in RGB and rows.
// 10 bytes a pixel were measured.
const (
	convertBase     = 128 << 20
	convertPerPixel = 16
)

// mostConverted is how many pictures one HEIC may hold.
const mostConverted = 8

// heic hashes all the pictures of a HEIC: the program does not tell which of them viewers show, and its first need
// not be it. Those behind the first count as further frames, a millisecond each.
func (p *Pool) heic(ctx context.Context, data []byte) (hashing.Picture, error) {
	converted, err := p.convert(ctx, data)
	if err != nil {
		return hashing.Picture{}, err
	}
	var all hashing.Picture
	for i, jpeg := range converted {
		picture, err := p.picture(ctx, p.usual, jpeg)
		if err != nil {
			return hashing.Picture{}, err
		}
		if i == 0 {
			all = picture
		} else if picture.Unhashable == "" {
			addPicture(&all, picture, uint32(i))
		}
	}
	all.Format = "heic"
	return all, nil
}

// addPicture adds what a further picture shows, at a time, to a first one.
func addPicture(all *hashing.Picture, further hashing.Picture, at uint32) {
	if all.Unhashable != "" {
		all.Unhashable, all.Graphic = "", further.Graphic
	}
	for _, s := range further.Signals {
		s.Time = at
		all.Signals = append(all.Signals, s)
	}
	for _, q := range further.Queries {
		known := slices.ContainsFunc(all.Queries, func(k hashing.Query) bool {
			return k.Transform == q.Transform && k.Signal.Algorithm == q.Signal.Algorithm && k.Signal.Value == q.Signal.Value
		})
		if !known {
			q.Signal.Time = at
			all.Queries = append(all.Queries, q)
		}
	}
}

// convert has the program convert a HEIC and returns a JPEG of each picture in it, of several
// mostConverted at most. The quality is high: less would save nothing that counts, and PNG takes three times as long.
func (p *Pool) convert(ctx context.Context, data []byte) ([][]byte, error) {
	if p.converter.missing != nil {
		return nil, p.converter.missing
	}
	width, height, err := decode.SizeOfHEIC(data, p.o.Limits)
	if err != nil {
		return nil, err
	}
	need := convertBase + convertPerPixel*int64(width)*int64(height)
	if err := p.acquire(ctx, p.converter.running, 1, "converter"); err != nil {
		return nil, err
	}
	defer p.converter.running.Release(1)
	release, err := p.grant(ctx, need)
	if err != nil {
		return nil, err
	}
	defer release()

	p.busy(+1)
	defer p.busy(-1)
	run, err := Start(ctx, Command{
		Program: p.converter.program, Args: []string{"-q", "95", "/dev/fd/3", "out.jpg"}, Input: data, Folder: true,
		Memory: need, CPU: p.o.Timeout + time.Second, Time: p.o.Timeout, Output: p.o.Limits.Bytes,
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil, whyEnded(ctx)
		}
		return nil, err
	}
	go func() { _, _ = io.Copy(io.Discard, run.Stdout) }() // it tells of its progress
	<-run.Done()
	converted, missing := readConverted(run.Folder, p.o.Limits.Bytes)
	_, err = run.Wait()

	var exit *ExitError
	switch {
	case err == nil && missing == nil:
		return converted, nil
	case err == nil && missing == error(errMany):
		return nil, missing
	case errors.Is(err, ErrKilled) || ctx.Err() != nil:
		return nil, whyEnded(ctx)
	case err == nil || errors.As(err, &exit):
		return nil, &hashing.MediaError{Kind: hashing.Corrupt, Detail: "HEIC: the converter does not understand it"}
	}
	return nil, err
}

// readConverted reads the pictures that the program wrote. The folder is the work of a hostile file:
// what is there is opened only if it is a plain file.
func readConverted(folder string, limit int64) (pictures [][]byte, err error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	read := func(name string) ([]byte, error) {
		info, err := root.Lstat(name)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, errors.New("not a plain file")
		}
		f, err := root.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		media, err := hashing.ReadMedia(f, limit)
		return media.Data, err
	}
	if one, err := read("out.jpg"); err == nil {
		return [][]byte{one}, nil
	}
	for i := 1; ; i++ {
		picture, err := read(fmt.Sprintf("out-%d.jpg", i))
		switch {
		case errors.Is(err, os.ErrNotExist) && i > 1:
			return pictures, nil
		case err != nil:
			return nil, err
		case i > mostConverted:
			return nil, errMany
		}
		pictures = append(pictures, picture)
	}
}

var errMany = &hashing.MediaError{Kind: hashing.Unsupported, Detail: fmt.Sprintf("HEIC of more than %d pictures", mostConverted)}
