package main

import (
	"context"

	"vigie/hashing"
	"vigie/hashing/sandbox"
)

type hashCmd struct {
	Files []string `arg:"" name:"file" help:"Pictures."`
}

// hashed is one line of vigie hash --json.
type hashed struct {
	File       string         `json:"file"`
	Kind       string         `json:"kind"`
	Format     string         `json:"format"`
	Width      int            `json:"width"`
	Height     int            `json:"height"`
	Signals    []hashedSignal `json:"signals"`
	Unhashable string         `json:"unhashable,omitempty"`
}

type hashedSignal struct {
	Algorithm string `json:"algorithm"`
	Variant   string `json:"variant"`
	Value     string `json:"value"`
	Quality   int    `json:"quality"`
}

// Run hashes files in decode children, without a node. Every signal that was computed is printed,
// also variants that an entry would not store.
func (c *hashCmd) Run(ctx context.Context, a *app) error {
	pool, err := sandbox.New(a.sandbox())
	if err != nil {
		return err
	}
	defer pool.Close()
	work := func(ctx context.Context, file string) (hashed, error) {
		f, err := openRegular(file)
		if err != nil {
			return hashed{}, err
		}
		defer f.Close()
		media, err := hashing.ReadMedia(f, int64(a.MaxBytes))
		if err != nil {
			return hashed{}, err
		}
		p, err := pool.Picture(ctx, media.Data)
		if err != nil {
			return hashed{}, err
		}
		h := hashed{
			File: file, Kind: "picture", Format: p.Format, Width: p.Width, Height: p.Height,
			Unhashable: string(p.Unhashable), Signals: []hashedSignal{},
		}
		for _, s := range append(p.Signals, media.Digests()...) {
			h.Signals = append(h.Signals, hashedSignal{s.Algorithm.String(), s.Variant.String(), s.Hex(), int(s.Quality)})
		}
		return h, nil
	}
	return eachFile(ctx, a.printer, c.Files, work, func(h hashed) error {
		if a.json {
			return a.object(h)
		}
		a.say("%s (%s, %d x %d)", printable(h.File), h.Format, h.Width, h.Height)
		if h.Unhashable != "" {
			a.say("  no perceptual hash: the picture is %s", h.Unhashable)
		}
		for _, s := range h.Signals {
			name := s.Algorithm
			if s.Variant != "" {
				name += "/" + s.Variant
			}
			a.say("  %s:%s  quality %d", name, s.Value, s.Quality)
		}
		return nil
	})
}
