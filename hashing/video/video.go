package video

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"time"

	"vigie/hashing"
	"vigie/hashing/decode"
	"vigie/hashing/sandbox"
)

// Options configure a [Decoder]. The zero value is usable; zero fields get the defaults named below.
type Options struct {
	// Program is ffmpeg: a path, or a name to look for in PATH. Default: "ffmpeg". The program
	// ffprobe beside it is needed for [Decoder.VPDQ], and tells of other videos what [hashing.Video] has of
	// their length and streams.
	Program string
	// Limits of the file and of its frames. Default: 256 MiB, 8192 pixels a side, 36 million pixels.
	Limits hashing.Limits
	// MaxDuration is how much of a video is looked at, by the time stamps of its frames. Default: 4 h.
	MaxDuration time.Duration
	// MaxFrames is how many frames are kept. Default: 15,000.
	MaxFrames int
	// Timeout is the time for one video, by the clock; its processor time is bounded alike.
	// Default: 10 minutes.
	Timeout time.Duration
	// Children is how many videos are decoded at a time. Default: GOMAXPROCS.
	Children int
	// Wait is how long a video waits for its turn before it is refused with [hashing.ErrBusy].
	// Default: 20 s.
	Wait time.Duration
	// Memory is what ffmpeg may use for one video, in bytes. Default: 1 GiB.
	Memory int64
	// Used, if set, is told what each run of ffmpeg took. It is called from any goroutine.
	Used func(sandbox.Usage)
}

func (o Options) withDefaults() Options {
	o.Program = cmp.Or(o.Program, "ffmpeg")
	o.Limits.Bytes = cmp.Or(o.Limits.Bytes, 256<<20)
	o.Limits.Side = cmp.Or(o.Limits.Side, 8192)
	o.Limits.Pixels = cmp.Or(o.Limits.Pixels, 36_000_000)
	o.MaxDuration = min(cmp.Or(o.MaxDuration, 4*time.Hour), (math.MaxUint32-1)*time.Millisecond) // what a Frame's Time can tell
	o.MaxFrames = cmp.Or(o.MaxFrames, 15_000)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Minute)
	o.Children = cmp.Or(o.Children, runtime.GOMAXPROCS(0))
	o.Wait = cmp.Or(o.Wait, 20*time.Second)
	o.Memory = cmp.Or(o.Memory, 1<<30)
	return o
}

// Decoder hashes videos with ffmpeg. Its methods may be called from many goroutines.
type Decoder struct {
	o       Options
	program string // the path; "" if there is none, and then missing says why
	ffprobe string
	version string
	missing string
	free    chan *hasher // one for each video that may be decoded now
}

// New looks for ffmpeg. It does not fail when there is none: then [Decoder.Available] is false, and
// every video is answered by a [*hashing.MediaError] of kind [hashing.NoDecoder] that says what to
// install. Its errors are options that make no sense.
func New(o Options) (*Decoder, error) {
	o = o.withDefaults()
	if o.Limits.Bytes < 0 || o.Limits.Side < 0 || o.Limits.Pixels < 0 || o.MaxDuration < 0 ||
		o.MaxFrames < 0 || o.Timeout < 0 || o.Children < 0 || o.Wait < 0 || o.Memory < 0 {
		return nil, errors.New("video: an option is negative")
	}
	d := &Decoder{o: o, free: make(chan *hasher, o.Children)}
	for range o.Children {
		d.free <- newHasher()
	}
	d.find()
	return d, nil
}

const install = "videos are hashed with the program ffmpeg, version 5.1 or later: install it (Debian package ffmpeg, or make setup) and start again"

// find sets program, or missing.
func (d *Decoder) find() {
	path, err := sandbox.FindProgram(d.o.Program, "ffmpeg")
	if err != nil {
		d.missing = install
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "-hide_banner", "-version").Output()
	found := versionLine.FindSubmatch(out)
	if err != nil || found == nil {
		d.missing = "the program ffmpeg that was found does not tell its version; " + install
		return
	}
	version := string(found[1])
	if tooOld(version) {
		d.missing = fmt.Sprintf("the ffmpeg found is of version %s; %s", version, install)
		return
	}
	d.program, d.version = path, version
	d.ffprobe = filepath.Join(filepath.Dir(path), "ffprobe")
}

var versionLine = regexp.MustCompile(`^ffmpeg version (\S+)`)

var release = regexp.MustCompile(`^[nv]?(\d+)\.(\d+)`)

// tooOld reports whether a version is below 5.1, which brought the option fps_mode. Versions that
// are no numbers are builds from a repository, and count as new.
func tooOld(version string) bool {
	m := release.FindStringSubmatch(version)
	if m == nil {
		return false
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major < 5 || major == 5 && minor < 1
}

// Available tells ffmpeg's version, and whether there is one that serves.
func (d *Decoder) Available() (version string, ok bool) { return d.version, d.program != "" }

// ErrStop, returned by the function that [Decoder.Video] calls, ends the decoding without an error: who
// asked has seen enough.
var ErrStop = errors.New("stop the video here")

// Frames that differ by so few bits from the one kept before are not kept: what is near the one is
// near the other, within the radius of 31. TestClips shows what other values would cost.
const pruneRadius = 10

// lastFrame is how long a container may say that a video's last frame is shown; more would be a claim like any other.
const lastFrame = 10 * time.Second

// Video decodes data and hands each kept frame to fn, stream after stream, each in order of time, while the
// decoding goes on: memory does not grow with the video's length. (Where frames change their size ffmpeg starts
// once more.) fn is called in the goroutine of the caller; it may be nil. Its error ends the decoding and is
// returned as it is; [ErrStop] ends it without an error.
//
// Which frames there are, see [hashing.VideoOptions] and the package documentation. Of frames without
// a usable rendering (black, flat, blurred: PDQ quality under 50) only the first in a row is handed out, without
// signals. Dropped are frames within 10 bits of the frame kept before, unless o.All. A video without any usable
// frame has none that counts in Frames, and no error.
//
// Errors that are the video's fault are [*hashing.MediaError]: of kind Empty, TooLarge, Unsupported
// before ffmpeg runs, NoDecoder without ffmpeg, and Corrupt, Unsupported (its codec, or no video in it), TooLarge,
// TimedOut, OutOfMemory or Crashed if not one frame could be decoded. Once a frame was decoded, whatever ends the
// decoding early, or leaves out a stream, leaves what was handed out, and sets Cut. [hashing.ErrBusy] is returned
// if no turn came in time. When ctx ends, ffmpeg is killed and ctx's error returned.
func (d *Decoder) Video(ctx context.Context, data []byte, o hashing.VideoOptions, fn func(hashing.Frame) error) (hashing.Video, error) {
	c, err := d.admit(data)
	if err != nil {
		return hashing.Video{}, err
	}
	h, release, err := d.slot(ctx)
	if err != nil {
		return hashing.Video{}, err
	}
	defer release()

	f := film{Decoder: d, job: d.job(c, data), hasher: h, options: o, fn: fn, video: hashing.Video{Format: c.name}}
	err = f.play(ctx)
	return f.video, err
}

// film is a video while it is hashed, stream after stream.
type film struct {
	*Decoder
	job
	hasher  *hasher
	options hashing.VideoOptions
	fn      func(hashing.Frame) error
	video   hashing.Video
	streams int  // decoded so far
	enough  bool // no further frame is wanted
}

func (f *film) play(ctx context.Context) error {
	length, lone := loneTrack(f.data)
	tracks, videos := []track{{place: "0:V:0", duration: length}}, 1
	if !lone {
		var err error
		if tracks, videos, err = f.tracks(ctx, f.job); err != nil {
			return err
		}
	}
	f.video.Streams = videos
	var missed error // why a stream could not be decoded
	none := false    // there are no more of those guessed
	for _, t := range tracks {
		if f.enough || none && !t.cover || t.cover && f.streams > 0 || missed != nil && time.Now().After(f.end) {
			continue
		}
		err := f.watch(ctx, t)
		_, isMedia := hashing.AsMediaError(err)
		switch {
		case err == nil:
			f.streams++
		case err == errNothing && t.guessed && f.streams > 0:
			none = true
		case err == errNothing && lone: // ffprobe knows why
			told, _, err := f.tracks(ctx, f.job)
			if err != nil {
				return err
			}
			missed = f.undecoded(told[0])
		case err == errNothing:
			none = t.guessed
			missed = cmp.Or(missed, f.undecoded(t))
		case isMedia && !f.enough:
			missed = cmp.Or(missed, err)
		default:
			return err
		}
	}
	if f.streams == 0 {
		return missed
	}
	f.video.Cut = f.video.Cut || missed != nil || videos > hashing.MaxStreams
	return nil
}

// watch decodes one stream and hands out its frames. The error is errNothing, or as of [Decoder.Video].
func (f *film) watch(ctx context.Context, t track) error {
	if t.codec != "" && !accepts(t.codec) {
		return errNothing
	}
	skip := skipNone
	if f.options.Keyframes {
		skip = skipMost
	}
	v := &f.video
	var kept hashing.Frame
	nothing := false // to be seen, and fn knows
	length := time.Duration(0)
	cut, err := f.decode(ctx, f.job, t.place, skip, sparse(f.options.PerSecond), true, func(p picture) error {
		if v.Width == 0 {
			v.Width, v.Height = p.width, p.height
		}
		if time.Duration(p.time)*time.Millisecond > f.o.MaxDuration {
			return errLimit
		}
		length = time.Duration(p.time) * time.Millisecond
		frame, ok := f.hasher.frame(p)
		frame.Stream = f.streams
		switch {
		case !ok && nothing, ok && !f.options.All && near(frame, kept):
			return nil
		case ok && v.Frames == f.o.MaxFrames:
			f.enough = true
			return errLimit
		case ok:
			v.Frames++
		}
		kept, nothing = frame, !ok
		if f.fn == nil {
			return nil
		}
		err := f.fn(frame)
		f.enough = err != nil
		return err
	})
	if err != nil {
		return err
	}
	most := f.o.MaxDuration
	if !f.options.Keyframes { // which alone say little of the end
		most = min(most, length+lastFrame)
	}
	if !cut && t.duration <= most {
		length = max(length, t.duration)
	}
	v.Duration = max(v.Duration, uint32(length.Milliseconds()))
	v.Cut = v.Cut || cut
	return nil
}

// near reports whether two frames show the same, in each of the renderings that both have: around a small
// moving picture in a frame the rest may stand still.
func near(a, b hashing.Frame) bool {
	common := false
	for _, x := range a.Signals {
		for _, y := range b.Signals {
			if x.Variant != y.Variant {
				continue
			}
			if x.Value.Distance(y.Value) > pruneRadius {
				return false
			}
			common = true
		}
	}
	return common
}

// admit applies what can be told before anything is started.
func (d *Decoder) admit(data []byte) (container, error) {
	c, known := sniff(data)
	switch {
	case len(data) == 0:
		return c, &hashing.MediaError{Kind: hashing.Empty, Detail: "no bytes"}
	case int64(len(data)) > d.o.Limits.Bytes:
		return c, &hashing.MediaError{Kind: hashing.TooLarge, Detail: fmt.Sprintf("%d bytes; accepted are %d for a video", len(data), d.o.Limits.Bytes)}
	case !known:
		return c, &hashing.MediaError{Kind: hashing.Unsupported, Detail: "this looks like " + decode.Sniff(data).Text + "; of videos " + accepted}
	case d.program == "":
		return c, &hashing.MediaError{Kind: hashing.NoDecoder, Detail: d.missing}
	}
	return c, nil
}

// slot waits for one of the places, and returns how to give it back.
func (d *Decoder) slot(ctx context.Context) (*hasher, func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	timer := time.NewTimer(d.o.Wait)
	defer timer.Stop()
	select {
	case h := <-d.free:
		return h, func() { d.free <- h }, nil
	case <-timer.C:
		return nil, nil, hashing.ErrBusy
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}
