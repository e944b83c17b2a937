package main

import (
	"context"
	"time"

	"vigie/hashing"
	"vigie/hashing/fingerprint"
	"vigie/hashing/sandbox"
	"vigie/hashing/video"
)

type hashCmd struct {
	Frames string   `help:"Frames of a video: all (keyframes and one a second) or keyframes." enum:"all,keyframes" default:"all"`
	VPDQ   vpdqForm `name:"vpdq" help:"Print the frames of videos as vPDQ does, one a second, and nothing else: as text, or as Python has it with --vpdq=json."`
	Files  []string `arg:"" name:"file" help:"Pictures and videos."`
}

// hashed is one line of vigie hash --json.
type hashed struct {
	File       string         `json:"file"`
	Kind       string         `json:"kind"`
	Format     string         `json:"format"`
	Width      int            `json:"width"`
	Height     int            `json:"height"`
	DurationMs int64          `json:"duration_ms,omitempty"`
	Frames     int            `json:"frames,omitempty"` // of a video: those that were kept
	Cut        bool           `json:"cut,omitempty"`    // a limit ended the decoding before the video's end
	Signals    []hashedSignal `json:"signals"`
	Unhashable string         `json:"unhashable,omitempty"`
}

type hashedSignal struct {
	Algorithm string `json:"algorithm"`
	Variant   string `json:"variant"`
	Value     string `json:"value"`
	Quality   int    `json:"quality"`
	TimeMs    int64  `json:"time_ms,omitempty"`
}

func hashedOf(s hashing.Signal) hashedSignal {
	return hashedSignal{s.Algorithm.String(), s.Variant.String(), s.Hex(), int(s.Quality), int64(s.Time)}
}

// Run hashes files in decode children, without a node. Every signal that was computed is printed,
// also variants that an entry would not store.
func (c *hashCmd) Run(ctx context.Context, a *app) error {
	pool, err := sandbox.New(a.sandbox())
	if err != nil {
		return err
	}
	defer pool.Close()
	videos, err := a.films()
	if err != nil {
		return err
	}
	shown := a.longWork(c.Files)
	defer shown.wait()
	work := func(ctx context.Context, file string) (hashed, error) {
		f, err := openRegular(file)
		if err != nil {
			return hashed{}, err
		}
		defer f.Close()
		media, isVideo, err := a.readMedia(f)
		switch {
		case err != nil:
			return hashed{}, err
		case c.VPDQ != "":
			return hashed{}, c.vpdq(ctx, a, videos, media)
		case isVideo:
			line := shown.start(file)
			defer line.end()
			return c.video(ctx, videos, file, media, line)
		}
		p, err := pool.Picture(ctx, media.Data)
		if err != nil {
			return hashed{}, err
		}
		h := hashed{
			File: file, Kind: "picture", Format: p.Format, Width: p.Width, Height: p.Height,
			Unhashable: string(p.Unhashable), Signals: []hashedSignal{},
		}
		signals := p.Signals
		for _, t := range p.Thumbs {
			signals = append(signals, fingerprint.Short(t, hashing.Identity)...)
		}
		for _, s := range append(signals, media.Digests()...) {
			h.Signals = append(h.Signals, hashedOf(s))
		}
		return h, nil
	}
	return eachFile(ctx, shown.printer, c.Files, work, func(h hashed) error {
		switch {
		case c.VPDQ != "":
			return nil
		case shown.json:
			return shown.object(h)
		}
		shown.say("%s (%s, %d x %d%s)", printable(h.File), h.Format, h.Width, h.Height, durationWords(h.DurationMs))
		if h.Unhashable != "" {
			shown.say("  no perceptual hash: the %s is %s", h.Kind, h.Unhashable)
		}
		if h.Cut {
			shown.say("  a limit ended it before the video's end")
		}
		for _, s := range h.Signals {
			name := s.Algorithm
			if s.Variant != "" {
				name += "/" + s.Variant
			}
			at := ""
			if (h.Frames > 0 || s.TimeMs > 0) && s.Algorithm == hashing.PDQ.String() {
				at = "  at " + exactly(s.TimeMs)
			}
			shown.say("  %s:%s  quality %d%s", name, s.Value, s.Quality, at)
		}
		return nil
	})
}

// video hashes a video. The signals are those that an entry would store, had its bank no bound on frames.
func (c *hashCmd) video(ctx context.Context, videos *films, file string, media hashing.Media, line *job) (hashed, error) {
	h := hashed{File: file, Kind: "video", Signals: []hashedSignal{}}
	began, stream, more := time.Now(), 0, false
	v, err := videos.Video(ctx, media.Data, hashing.VideoOptions{Keyframes: c.Frames == "keyframes"}, func(f hashing.Frame) error {
		switch {
		case h.Frames == 0:
			stream = f.Stream
		case f.Stream != stream:
			more = true
			return video.ErrStop
		}
		if len(f.Signals) == 0 {
			return nil
		}
		for _, s := range f.Signals {
			h.Signals = append(h.Signals, hashedOf(s))
		}
		h.Frames++
		line.say("%s decoded, %.0f times as fast as it plays", clock(int64(f.Time)), float64(f.Time)/float64(1+time.Since(began).Milliseconds()))
		return nil
	})
	if err != nil {
		return hashed{}, err
	}
	h.Format, h.Width, h.Height, h.DurationMs, h.Cut = v.Format, v.Width, v.Height, int64(v.Duration), v.Cut && !more
	if h.Frames == 0 {
		h.Unhashable = string(hashing.LowQuality)
	}
	for _, s := range media.Digests() {
		h.Signals = append(h.Signals, hashedOf(s))
	}
	return h, nil
}

// vpdq prints a list of hashes. One list is one file's: several would run into one another.
func (c *hashCmd) vpdq(ctx context.Context, a *app, videos *films, media hashing.Media) error {
	if len(c.Files) > 1 {
		return usagef("--vpdq: one file at a time, as each is a list of its own")
	}
	return videos.printVPDQ(ctx, a.out, media, c.VPDQ)
}
