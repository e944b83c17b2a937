package video

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"vigie/hashing"
	"vigie/hashing/sandbox"
)

// sparse is which of the decoded frames ffmpeg selects, in the words of its filter of that name: the
// first, keyframes, and what comes a second's part after the last one. Keyframes have a gate too, against
// videos of nothing else; abs is there for time stamps that jump, and a frame without one is taken. A millisecond is left to rounding.
// Stamps that hardly move hide nothing: frames at more than 125 a second are taken as if there were 30 a second.
func sparse(perSecond int) string {
	perSecond = min(max(perSecond, 1), mostPerSecond)
	interval := 1/float64(perSecond) - 0.001
	return fmt.Sprintf(`isnan(t)+isnan(prev_selected_t)+key*gte(abs(t-prev_selected_t)\,%.3f)+gte(abs(t-prev_selected_t)\,%.3f)`+
		`+gte(n-prev_selected_n\,%d)*lt(125*abs(t-prev_selected_t)\,n-prev_selected_n)`,
		min(interval, 0.249), interval, 30/perSecond)
}

const mostPerSecond = 10

// Which frames ffmpeg need not decode: none, or all but keyframes. A decoder that does not know the difference
// decodes more, and nothing else changes. To skip those that no other frame refers to (noref) would save up to two
// fifths, but an encoder decides which these are: all but the first may be, and seen by whoever plays the file.
const (
	skipMost = "nokey"
	skipNone = "default"
)

// codecs are the decoders that ffmpeg may use: those that cameras, phones, platforms, editors and old archives
// have written, of several hundred. Where ffmpeg calls the codec otherwise than its decoder, both names are there.
const codecs = "h264,hevc,vp8,vp9,libdav1d,libaom-av1,av1,mpeg4,msmpeg4v1,msmpeg4,msmpeg4v2,msmpeg4v3,mpeg1video,mpeg2video,h263,h263i,flv,flv1,theora,wmv1,wmv2,wmv3,vc1,mjpeg,prores,dnxhd,ffv1,huffyuv,ffvhuff,rawvideo,png,vp6,vp6f,dvvideo,rv40,svq1,svq3,cinepak"

func accepts(codec string) bool { return strings.Contains(","+codecs+",", ","+codec+",") }

// input is the part of the command line that ffmpeg and ffprobe share.
func (d *Decoder) input(c container) []string {
	return []string{
		"-hide_banner", "-loglevel", "quiet",
		"-max_alloc", strconv.FormatInt(d.o.Memory/4, 10),
		"-protocol_whitelist", "file", "-format_whitelist", c.demuxer,
		"-max_streams", "100", "-max_pixels", strconv.Itoa(d.o.Limits.Pixels), "-threads", "1",
		"-f", c.demuxer,
	}
}

// arguments make ffmpeg write frames to standard output, each as a PGM picture, and before each its time to
// descriptor 4.
func (d *Decoder) arguments(j job, stream, skip, choose string) []string {
	args := append([]string{"-nostdin"}, d.input(j.container)...)
	if j.demuxer == "mov" && !j.edited {
		args = append(args, "-ignore_editlist", "1")
	}
	return append(args,
		"-codec_whitelist", codecs, "-skip_frame", skip, "-noautorotate", "-i", "/dev/fd/3",
		"-map", stream, "-an", "-sn", "-dn", "-map_metadata", "-1",
		"-filter_threads", "1",
		// print shows only frames that have metadata, whence the one that is added. Those of the video go: a
		// decoder takes texts from the frame, EXIF for example, which could hold lines like those of print.
		"-vf", "select="+choose+`,format=gray,metadata=mode=delete,metadata=mode=add:key=v:value=1,metadata=mode=print:key=v:file='pipe\:4':direct=1`,
		"-fps_mode", "passthrough",
		"-c:v", "pgm", "-threads", "1", "-f", "image2pipe", "-flush_packets", "1", "pipe:1")
}

// picture is one frame as it comes from ffmpeg. Its pixels hold until the next one is read.
type picture struct {
	time          uint32 // milliseconds
	width, height int
	luma          []uint8 // 0..255, row after row
	resized       bool    // frames before it were of another size, if not in ffmpeg's output
}

// errLimit ends the decoding at one of this package's limits.
var errLimit = errors.New("a limit was reached")

// resized brings all frames to one size. ffmpeg alone would scale them to the size of the first one, which
// may be a few pixels small, and then nothing of the others is left.
const resized = ",scale=1024:1024"

// decode runs ffmpeg on one stream and calls fn for each frame; see decodeStream for the results. If frames are of
// several sizes, and follow is set, it starts again, passes over what fn was given, and goes on with resized frames.
func (d *Decoder) decode(ctx context.Context, j job, stream, skip, choose string, follow bool, fn func(picture) error) (cut bool, err error) {
	given := 0
	var own error // fn's
	for {
		again := given // so many are known to fn
		cut, err = d.decodeStream(ctx, j, d.arguments(j, stream, skip, choose), follow, func(p picture) error {
			if again > 0 {
				again--
				return nil
			}
			given++
			own = fn(p)
			return own
		})
		_, isMedia := hashing.AsMediaError(err)
		switch {
		case err == errResized:
			choose, follow = choose+resized, false
		case given > 0 && own == nil && (err == errNothing || isMedia): // now, but not before
			return true, nil
		default:
			return cut, err
		}
	}
}

var (
	// errNothing says that ffmpeg ended by itself without a frame.
	errNothing = errors.New("no frame of the video could be decoded")
	// errResized says that the frames from now on are of another size, if not in ffmpeg's output.
	errResized = errors.New("the frames change their size")
)

// decodeStream runs ffmpeg and calls fn for each frame. err is what to return to the caller: ctx's error,
// fn's own, or why nothing could be decoded, errNothing among these reasons; with follow also errResized. Otherwise cut says whether something ended the video before
// its end: a limit, [ErrStop], or a failure after good frames.
func (d *Decoder) decodeStream(ctx context.Context, j job, args []string, follow bool, fn func(picture) error) (cut bool, err error) {
	p, err := d.run(ctx, j, sandbox.Command{Program: d.program, Args: args, Side: true})
	if err != nil {
		return false, err
	}
	defer p.Kill() // should fn panic
	frames := newStream(p.Stdout, p.Side, d.o.Limits)
	decoded := false
	var broken, stop error
	for broken == nil && stop == nil {
		var next picture
		if next, broken = frames.next(); broken == nil {
			if decoded = true; follow && next.resized {
				stop = errResized
			} else {
				stop = fn(next)
			}
		}
	}
	if broken != io.EOF {
		p.Kill()
	}
	failed := d.wait(p)
	media, isMedia := hashing.AsMediaError(failed)
	var exit *sandbox.ExitError
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.Is(stop, errLimit), errors.Is(stop, ErrStop):
		return true, nil
	case stop != nil:
		return false, stop
	case decoded:
		return failed != nil, nil
	case errors.Is(broken, errLimit):
		return false, &hashing.MediaError{Kind: hashing.TooLarge, Detail: fmt.Sprintf(
			"the first frame exceeds %d x %d or %d pixels in all", d.o.Limits.Side, d.o.Limits.Side, d.o.Limits.Pixels)}
	case isMedia:
		return false, media
	case failed == nil, errors.As(failed, &exit), errors.Is(failed, sandbox.ErrKilled):
		return false, errNothing
	}
	return false, failed
}

// job is one video: what may be spent on it is spent on all runs together.
type job struct {
	container
	data   []byte
	end    time.Time
	edited bool // what an MP4's edit list leaves out is left out; a player may show it
}

func (d *Decoder) job(c container, data []byte) job {
	return job{container: c, data: data, end: time.Now().Add(d.o.Timeout)}
}

// run starts a program within the limits of one video.
func (d *Decoder) run(ctx context.Context, j job, c sandbox.Command) (*sandbox.Process, error) {
	left := time.Until(j.end)
	if left <= 0 {
		return nil, d.late()
	}
	c.Input, c.Memory, c.CPU, c.Time = j.data, d.o.Memory, left, left
	return sandbox.Start(ctx, c)
}

func (d *Decoder) wait(p *sandbox.Process) error {
	usage, err := p.Wait()
	if d.o.Used != nil {
		d.o.Used(usage)
	}
	if m, ok := hashing.AsMediaError(err); ok && m.Kind == hashing.TimedOut {
		return d.late()
	}
	return err
}

func (d *Decoder) late() error {
	return &hashing.MediaError{Kind: hashing.TimedOut, Detail: fmt.Sprintf("not decoded within %v", d.o.Timeout)}
}

// errBroken says that ffmpeg's output does not hold, mostly because it ended in the middle.
var errBroken = errors.New("the output of ffmpeg does not hold")

// stream reads the frames and their times.
type stream struct {
	pixels *bufio.Reader
	times  *bufio.Scanner
	limits hashing.Limits
	luma   []uint8

	clock  clock
	ahead  stamp // of the next frame; once started
	ended  error // there is no next frame
	begun  bool
	number int // ffmpeg's, of the frame ahead: it begins anew when frames change their size or kind
}

func newStream(pixels, times io.Reader, limits hashing.Limits) *stream {
	s := &stream{pixels: bufio.NewReader(pixels), times: bufio.NewScanner(times), limits: limits, clock: newClock(), number: -1}
	s.times.Buffer(make([]byte, 4096), 4096)
	return s
}

// next returns the next frame. At the end it is io.EOF; other errors are [errBroken], and errLimit for a
// frame that exceeds the limits. A frame is returned when the stamp of the one after it is known.
func (s *stream) next() (picture, error) {
	if !s.begun {
		s.begun = true
		s.look()
	}
	if s.ended != nil {
		return picture{}, s.ended
	}
	var width, height, most int
	if _, err := fmt.Fscanf(s.pixels, "P5\n%d %d\n%d\n", &width, &height, &most); err != nil || most != 255 {
		return picture{}, errBroken
	}
	if s.limits.CheckSize(width, height) != nil {
		return picture{}, errLimit
	}
	if n := width * height; cap(s.luma) < n {
		s.luma = make([]uint8, n)
	}
	s.luma = s.luma[:width*height]
	if _, err := io.ReadFull(s.pixels, s.luma); err != nil {
		return picture{}, errBroken
	}
	this := s.ahead
	s.look()
	return picture{s.clock.time(this.time, s.ahead.time), width, height, s.luma, this.resized}, nil
}

// stamp is what ffmpeg tells of a frame.
type stamp struct {
	time    int64 // milliseconds, or unknown
	resized bool  // ffmpeg began its numbers anew here, or before
}

// look reads the stamp of the next frame.
func (s *stream) look() {
	s.ahead.time = unknown
	for s.times.Scan() {
		// "frame:12   pts:6144    pts_time:12.5"; other lines show the metadata.
		line, ok := bytes.CutPrefix(s.times.Bytes(), []byte("frame:"))
		if !ok {
			continue
		}
		count, _, _ := bytes.Cut(line, []byte(" "))
		number, _ := strconv.Atoi(string(count))
		s.ahead.resized = s.ahead.resized || number <= s.number
		s.number = number
		_, text, _ := bytes.Cut(line, []byte("pts_time:"))
		seconds, err := strconv.ParseFloat(string(bytes.TrimSpace(text)), 64)
		if err == nil && !math.IsNaN(seconds) {
			s.ahead.time = int64(math.Round(1000 * min(max(seconds, -math.MaxUint32), math.MaxUint32)))
		}
		return
	}
	if s.ended = io.EOF; s.times.Err() != nil {
		s.ended = errBroken
	}
}
