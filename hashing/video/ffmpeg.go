package video

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"vigie/hashing"
	"vigie/hashing/sandbox"
)

// sparse is which of the decoded frames ffmpeg selects, in the words of its filter of that name: the
// first, keyframes, and what comes a second's part after the last one. Keyframes have a gate too, against
// videos of nothing else; abs is there for time stamps that jump, and a frame without one is taken. A millisecond is left to rounding.
func sparse(perSecond int) string {
	interval := 1/float64(min(max(perSecond, 1), mostPerSecond)) - 0.001
	return fmt.Sprintf(`isnan(t)+isnan(prev_selected_t)+key*gte(abs(t-prev_selected_t)\,%.3f)+gte(abs(t-prev_selected_t)\,%.3f)`,
		min(interval, 0.249), interval)
}

const mostPerSecond = 10

// Which frames ffmpeg need not decode: none, or all but keyframes. A decoder that does not know the difference
// decodes more, and nothing else changes. To skip those that no other frame refers to (noref) would save up to two
// fifths, but an encoder decides which these are: all but the first may be, and seen by whoever plays the file.
const (
	skipMost = "nokey"
	skipNone = "default"
)

// codecs are the decoders that ffmpeg may use: those that cameras, phones, platforms and old archives
// have written, of several hundred.
const codecs = "h264,hevc,vp8,vp9,libdav1d,libaom-av1,av1,mpeg4,msmpeg4v1,msmpeg4,msmpeg4v2,mpeg1video,mpeg2video,h263,h263i,flv,theora,wmv1,wmv2,wmv3,vc1,mjpeg,prores,vp6,vp6f,dvvideo,rv40,svq3"

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
func (d *Decoder) arguments(c container, stream, skip, choose string) []string {
	args := append([]string{"-nostdin"}, d.input(c)...)
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
}

// errLimit ends the decoding at one of this package's limits.
var errLimit = errors.New("a limit was reached")

// The video stream to decode: the first that is no cover picture, which a player would not show as the video;
// and if there is none, the first cover picture.
const (
	moving = "0:V:0"
	cover  = "0:v:0"
)

// resized brings all frames to one size. ffmpeg alone would scale them to the size of the first one, which
// may be a few pixels small, and then nothing of the others is left.
const resized = ",scale=1024:1024"

// decode runs ffmpeg and calls fn for each frame; see decodeStream for the results. If frames are of several sizes,
// and follow is set, it starts again, passes over what fn was given, and goes on with resized frames.
func (d *Decoder) decode(ctx context.Context, c container, data []byte, skip, choose string, follow bool, fn func(picture) error) (cut bool, err error) {
	stream, given := moving, 0
	for {
		again := given // so many are known to fn
		cut, err = d.decodeStream(ctx, data, d.arguments(c, stream, skip, choose), follow, func(p picture) error {
			if again > 0 {
				again--
				return nil
			}
			given++
			return fn(p)
		})
		_, isMedia := hashing.AsMediaError(err)
		switch {
		case err == errResized:
			choose, follow = choose+resized, false
		case given > 0 && (err == errNothing || isMedia): // now, but not before
			return true, nil
		case err == errNothing && stream == moving:
			stream = cover
		case err == errNothing:
			return false, &hashing.MediaError{Kind: hashing.Corrupt, Detail: fmt.Sprintf(
				"no frame of the video could be decoded; accepted are frames of at most %d pixels", d.o.Limits.Pixels)}
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
func (d *Decoder) decodeStream(ctx context.Context, data []byte, args []string, follow bool, fn func(picture) error) (cut bool, err error) {
	p, err := d.run(ctx, sandbox.Command{Program: d.program, Args: args, Input: data, Side: true})
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
			if decoded = true; follow && frames.resized {
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

// run starts a program within the limits of one video.
func (d *Decoder) run(ctx context.Context, c sandbox.Command) (*sandbox.Process, error) {
	c.Memory, c.CPU, c.Time = d.o.Memory, d.o.Timeout, d.o.Timeout
	return sandbox.Start(ctx, c)
}

func (d *Decoder) wait(p *sandbox.Process) error {
	usage, err := p.Wait()
	if d.o.Used != nil {
		d.o.Used(usage)
	}
	return err
}

// probe runs ffprobe and returns what it tells of the first video stream, as JSON. The list of codecs is left
// out: ffprobe gives up on a file with any other stream, the sound for example.
func (d *Decoder) probe(ctx context.Context, c container, data []byte, entries string) ([]byte, error) {
	const most = 64 << 10
	p, err := d.run(ctx, sandbox.Command{Program: d.ffprobe, Input: data, Args: append(d.input(c),
		"-select_streams", "V:0", "-show_entries", entries, "-of", "json", "/dev/fd/3")})
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(p.Stdout, most))
	p.Kill() // it has ended, or tells too much
	_ = d.wait(p)
	return out, cmp.Or(ctx.Err(), err)
}

// errBroken says that ffmpeg's output does not hold, mostly because it ended in the middle.
var errBroken = errors.New("the output of ffmpeg does not hold")

// stream reads the frames and their times.
type stream struct {
	pixels *bufio.Reader
	times  *bufio.Scanner
	limits hashing.Limits
	last   uint32
	number int // ffmpeg's, of the last frame: it begins anew when frames change their size or kind
	luma   []uint8

	resized bool // it did
}

func newStream(pixels, times io.Reader, limits hashing.Limits) *stream {
	s := &stream{pixels: bufio.NewReader(pixels), times: bufio.NewScanner(times), limits: limits, number: -1}
	s.times.Buffer(make([]byte, 4096), 4096)
	return s
}

// next returns the next frame. At the end it is io.EOF; other errors are [errBroken], and errLimit for a
// frame that exceeds the limits.
func (s *stream) next() (picture, error) {
	time, err := s.time()
	if err != nil {
		return picture{}, err
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
	return picture{time: time, width: width, height: height, luma: s.luma}, nil
}

// time returns the next frame's time, never less than the one before: a broken time stamp moves
// nothing back.
func (s *stream) time() (uint32, error) {
	for s.times.Scan() {
		// "frame:12   pts:6144    pts_time:12.5"; other lines show the metadata.
		line, ok := bytes.CutPrefix(s.times.Bytes(), []byte("frame:"))
		if !ok {
			continue
		}
		count, _, _ := bytes.Cut(line, []byte(" "))
		number, _ := strconv.Atoi(string(count))
		s.resized = s.resized || number <= s.number
		s.number = number
		_, text, _ := bytes.Cut(line, []byte("pts_time:"))
		seconds, err := strconv.ParseFloat(string(bytes.TrimSpace(text)), 64)
		if err == nil && seconds > 0 {
			s.last = max(s.last, uint32(min(math.Round(seconds*1000), math.MaxUint32)))
		}
		return s.last, nil
	}
	if s.times.Err() != nil {
		return 0, errBroken
	}
	return 0, io.EOF
}
