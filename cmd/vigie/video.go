package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/hashing/video"
)

// noFFmpeg as --ffmpeg switches videos off.
const noFFmpeg = "none"

// films are the videos of a node: ffmpeg, if there is one. They are matcher.Videos.
type films struct {
	*video.Decoder
	off   bool
	count func(outcome string, decoded time.Duration) // may be nil
}

// films finds ffmpeg. It is no error that there is none: then videos are answered by what to install.
func (c *Config) films() (*films, error) {
	decoder, err := video.New(video.Options{
		Program: c.Ffmpeg, Children: c.VideoDecoders, Memory: int64(c.VideoMemory), Timeout: c.VideoTimeout,
		MaxDuration: c.MaxVideoTime, Limits: hashing.Limits{Bytes: int64(c.MaxVideoBytes), Side: 8192, Pixels: 36_000_000},
	})
	if err != nil {
		return nil, err
	}
	return &films{Decoder: decoder, off: c.Ffmpeg == noFFmpeg}, nil
}

// tell logs whether videos are taken.
func (f *films) tell(log *slog.Logger) {
	switch version, ok := f.Available(); {
	case f.off:
		log.Info("videos are switched off")
	case !ok:
		log.Warn("no ffmpeg: videos are refused")
	default:
		log.Info("videos", "ffmpeg", version)
	}
}

// Container names the format of a video.
func (*films) Container(data []byte) string {
	name, _ := video.Sniff(data)
	return name
}

// Video hashes a video, and counts it.
func (f *films) Video(ctx context.Context, data []byte, o hashing.VideoOptions, fn func(hashing.Frame) error) (v hashing.Video, err error) {
	if f.off {
		err = &hashing.MediaError{Kind: hashing.NoDecoder, Detail: "videos are switched off on this node (--ffmpeg none)"}
	} else {
		v, err = f.Decoder.Video(ctx, data, o, fn)
	}
	if f.count != nil {
		f.count(outcomeOf(ctx, v, err), time.Duration(v.Duration)*time.Millisecond)
	}
	return v, err
}

// outcomeOf is how decoding ended, in one of few words.
func outcomeOf(ctx context.Context, v hashing.Video, err error) string {
	media, isMedia := hashing.AsMediaError(err)
	switch {
	case ctx.Err() != nil:
		return "cancelled"
	case isMedia:
		return string(media.Kind)
	case errors.Is(err, hashing.ErrBusy):
		return "busy"
	case err != nil:
		return "stopped" // by the matcher: the first match, or a search that failed
	case v.Cut:
		return "cut"
	}
	return "whole"
}

// readMedia reads a file, be it a picture or a video, within its limit.
func (c *Config) readMedia(f *os.File) (media hashing.Media, isVideo bool, err error) {
	head := make([]byte, 4096)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return media, false, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return media, false, err
	}
	limit := int64(c.MaxBytes)
	if _, isVideo = video.Sniff(head[:n]); isVideo {
		limit = int64(c.MaxVideoBytes)
	}
	media, err = hashing.ReadMedia(f, limit)
	return media, isVideo, err
}

// vpdqForm is the flag --vpdq of vigie hash: text if it has no value, or json.
type vpdqForm string

// IsBool lets the flag stand without a value.
func (*vpdqForm) IsBool() bool { return true }

// Decode reads the flag's value, if it has one.
func (v *vpdqForm) Decode(ctx *kong.DecodeContext) error {
	*v = "text"
	if ctx.Scan.Peek().Type == kong.FlagValueToken {
		*v = vpdqForm(fmt.Sprint(ctx.Scan.Pop().Value))
	}
	if *v != "text" && *v != "json" {
		return fmt.Errorf("%q; accepted are text and json", string(*v))
	}
	return nil
}

// printVPDQ prints the frames of a video as vPDQ's own program does.
func (f *films) printVPDQ(ctx context.Context, w io.Writer, media hashing.Media, form vpdqForm) error {
	if f.off {
		_, err := f.Video(ctx, media.Data, hashing.VideoOptions{}, nil)
		return err
	}
	features, err := f.VPDQ(ctx, media.Data, 1)
	if err != nil {
		return err
	}
	if form == "json" {
		return video.WriteVPDQJSON(w, features)
	}
	return video.WriteVPDQ(w, features)
}

// maxListed is how many hashes of frames the contract takes at once.
const maxListed = 10_000

// readVPDQ reads a list of hashes of frames, as vPDQ's program or Python write it, from a file or, if it
// is named -, from standard input.
func (a *app) readVPDQ(path string) ([]v1.Signal, error) {
	in := a.in
	if path != "-" {
		f, err := openRegular(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	features, err := video.ReadVPDQ(in)
	if err != nil {
		return nil, err
	}
	switch n := len(features); {
	case n == 0:
		return nil, usagef("--vpdq: the list is empty")
	case n > maxListed:
		return nil, usagef("--vpdq: %d frames; accepted are at most %d: hash one frame a second", n, maxListed)
	}
	out := make([]v1.Signal, len(features))
	for i, f := range features {
		quality, time := f.Quality, int64(f.Signal().Time)
		out[i] = v1.Signal{Algorithm: v1.Pdq, Value: f.Signal().Hex(), Quality: &quality, TimeMs: &time}
	}
	return out, nil
}

// clock writes milliseconds as minutes and seconds, rounded, or with hours where there are some.
func clock(ms int64) string {
	s := (ms + 500) / 1000
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// between writes a stretch of a media: from the second in which it begins to that in which it ends. A tenth of
// a second is no second: five seconds by thirty frames a second end at 5.005.
func between(from, to int64) string {
	return clock(from/1000*1000) + "–" + clock((to+899)/1000*1000)
}

// exactly writes milliseconds as seconds.
func exactly(ms int64) string { return fmt.Sprintf("%.3f s", float64(ms)/1000) }

// maxSpanLines is how many spans of a match are told; --json lists more.
const maxSpanLines = 10

// videoLines say where an upload and an entry match.
func videoLines(m v1.Match) (lines []string) {
	v := m.Video
	if v == nil {
		return nil
	}
	told := v.Spans[:min(len(v.Spans), maxSpanLines)]
	for _, s := range told {
		upload, entry := "the picture", fmt.Sprintf("entry %d", m.Entry)
		if s.ToMs > 0 {
			upload = between(s.FromMs, s.ToMs) + " of the upload"
		}
		if s.EntryToMs > 0 {
			entry = between(s.EntryFromMs, s.EntryToMs) + " of " + entry
		}
		lines = append(lines, fmt.Sprintf("%s = %s", upload, entry))
	}
	if more := v.SpansTotal - len(told); more > 0 {
		lines = append(lines, fmt.Sprintf("and %s more", plural(more, "span")))
	}
	matches := ""
	if v.Vpdq.Matches && slices.ContainsFunc(v.Spans, func(s v1.Span) bool { return s.ToMs > 0 }) { // a picture is all of itself
		matches = ", a match of vPDQ"
	}
	stray := ""
	if m.Level == v1.LevelLikely {
		stray = "; too few frames to be sure"
	}
	return append(lines, fmt.Sprintf("%.0f %% of the upload, %.0f %% of the entry (frames: %.0f %% and %.0f %%%s)%s",
		100*v.Share, 100*v.EntryShare, v.Vpdq.QueryPercent, v.Vpdq.TargetPercent, matches, stray))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// framesWords tell how much of a video was compared.
func framesWords(f *v1.ComparedFrames) string {
	if f == nil {
		return ""
	}
	words := fmt.Sprintf(" (%s compared", plural(f.Compared, "frame"))
	if f.Dropped > 0 {
		words += fmt.Sprintf(", %d too poor", f.Dropped)
	}
	if f.Cut {
		words += ", not to its end"
	}
	return words + ")"
}

// videoFields are the parts of a check that are about videos.
type videoFields struct {
	Frames      string `help:"Frames of a video: all (keyframes and four a second) or keyframes, several times faster." enum:"all,keyframes" default:"all"`
	StopAtFirst bool   `help:"Decode a video no further than its first match."`
}

func (f videoFields) add(fields map[string][]string) {
	if f.Frames != "" && f.Frames != "all" {
		fields["frames"] = []string{f.Frames}
	}
	if f.StopAtFirst {
		fields["stop_at_first"] = []string{"true"}
	}
}

// longWork shows how far long files are, if a person is watching; otherwise it does nothing.
type longWork struct {
	printer               // for what else is printed meanwhile
	bars    *mpb.Progress // nil: nobody is watching
}

// longWork is for some files. Only if there is a video among them there is something to show.
func (a *app) longWork(files []string) *longWork {
	l := &longWork{printer: a.printer}
	if a.json || !isTerminal(a.err) || !slices.ContainsFunc(files, isVideo) {
		return l
	}
	l.bars = mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(4))
	l.err = l.bars
	if isTerminal(a.out) { // lines go above the bars
		l.out = l.bars
	}
	return l
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// isVideo reports whether a file is a video; one that cannot be read is none.
func isVideo(path string) bool {
	f, err := openRegular(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 4096)
	n, _ := io.ReadFull(f, head)
	_, ok := video.Sniff(head[:n])
	return ok
}

// job is one long file.
type job struct {
	bar *mpb.Bar // nil: nobody is watching
	mu  sync.Mutex
	at  string
}

// start begins a line for a file.
func (l *longWork) start(file string) *job {
	j := &job{}
	if l.bars == nil {
		return j
	}
	now := func(decor.Statistics) string {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.at
	}
	j.bar = l.bars.New(0, mpb.SpinnerStyle(), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(printable(filepath.Base(file))+"  ")),
		mpb.AppendDecorators(decor.Any(now), decor.Name("  "), decor.Elapsed(decor.ET_STYLE_GO)))
	return j
}

// say replaces what is said of the file.
func (j *job) say(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.at = fmt.Sprintf(format, args...)
}

// end removes the line.
func (j *job) end() {
	if j.bar != nil {
		j.bar.Abort(true)
	}
}

// wait leaves the terminal as it was.
func (l *longWork) wait() {
	if l.bars != nil {
		l.bars.Wait()
	}
}

// sending tells how much of a file was sent, and then that an answer is awaited.
type sending struct {
	io.ReadCloser
	job        *job
	sent, size int64
}

// sending wraps a file that is a video; others are too fast to be shown.
func (l *longWork) sending(f *os.File) io.ReadCloser {
	info, err := f.Stat()
	if l.bars == nil || err != nil || !isVideo(f.Name()) {
		return f
	}
	return &sending{ReadCloser: f, job: l.start(f.Name()), size: info.Size()}
}

func (s *sending) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if s.sent += int64(n); s.sent < s.size {
		s.job.say("%d %% sent", 100*s.sent/max(s.size, 1))
	} else {
		s.job.say("is being looked at")
	}
	return n, err
}

// Close ends the line; the request is over then.
func (s *sending) Close() error {
	s.job.end()
	return s.ReadCloser.Close()
}

// thresholds are those of vPDQ, if any was named.
func thresholds(query, target *float32) *v1.VPDQThresholds {
	if cmp.Or(query, target) == nil {
		return nil
	}
	return &v1.VPDQThresholds{QueryPercent: query, TargetPercent: target}
}

// durationWords is how long a video lasts; empty for a picture.
func durationWords(ms int64) string {
	if ms == 0 {
		return ""
	}
	return ", " + strings.TrimSpace(clock(ms))
}
