package video

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vigie/hashing"
	"vigie/hashing/sandbox"
)

// track is a stream of pictures in a file. Where ffprobe does not tell, only its place is known.
type track struct {
	place    string        // in ffmpeg's words
	guessed  bool          // there may be none
	cover    bool          // not the video for a player, but better than nothing
	codec    string        // "" if not told
	sized    bool          // ffprobe knows its size
	rate     float64       // frames a second; 0 if unknown
	duration time.Duration // 0 if unknown
}

// contents are what ffprobe tells of a file.
type contents struct {
	Streams []struct { // those of pictures
		Index       int    `json:"index"`
		Codec       string `json:"codec_name"`
		Width       int    `json:"width"`
		Average     string `json:"avg_frame_rate"`
		Basic       string `json:"r_frame_rate"`
		Duration    string `json:"duration"`
		Disposition struct {
			Default int `json:"default"`
			Cover   int `json:"attached_pic"`
		} `json:"disposition"`
	} `json:"streams"`
	Format struct {
		Streams  int    `json:"nb_streams"` // of all kinds
		Duration string `json:"duration"`
	} `json:"format"`
}

const entries = "stream=index,codec_name,width,avg_frame_rate,r_frame_rate,duration:stream_disposition=default,attached_pic:format=nb_streams,duration"

// tracks are the streams to decode, in this order, and how many videos there are; 0 if unknown. First
// come those that the file calls the default, then the others by number, then a cover picture. ffprobe may be
// missing, or be made to give up by some other stream: then the streams are guessed. The errors are ctx's, and of a
// file without a picture a [*hashing.MediaError].
func (d *Decoder) tracks(ctx context.Context, j job) (tracks []track, videos int, err error) {
	c := d.probe(ctx, j)
	switch {
	case ctx.Err() != nil:
		return nil, 0, ctx.Err()
	case c.Format.Streams == 0:
		for n := range hashing.MaxStreams {
			tracks = append(tracks, track{place: fmt.Sprintf("0:V:%d", n), guessed: true})
		}
		return append(tracks, track{place: "0:v:0", guessed: true, cover: true}), 0, nil
	case len(c.Streams) == 0:
		return nil, 0, &hashing.MediaError{Kind: hashing.Unsupported, Detail: "there is no video in the file"}
	}
	var covers []track
	first := 0 // so many are the default
	for _, s := range c.Streams {
		t := track{
			place: fmt.Sprintf("0:%d", s.Index), codec: "unknown", sized: s.Width > 0,
			rate: cmp.Or(rate(s.Average), rate(s.Basic)), duration: cmp.Or(duration(s.Duration), duration(c.Format.Duration)),
		}
		if codecName.MatchString(s.Codec) {
			t.codec = s.Codec
		}
		switch {
		case s.Disposition.Cover != 0:
			t.cover = true
			covers = append(covers, t)
		case s.Disposition.Default != 0:
			tracks = slices.Insert(tracks, first, t)
			first++
		default:
			tracks = append(tracks, t)
		}
	}
	videos = len(tracks)
	return append(tracks[:min(videos, hashing.MaxStreams)], covers[:min(len(covers), 1)]...), videos, nil
}

// codecName is what a name of ffmpeg's looks like, and nothing that a file could have it say.
var codecName = regexp.MustCompile(`^[a-z0-9_]{1,24}$`)

// probe asks ffprobe. The list of codecs is left out: it gives up on a file with any other stream, the sound for
// example. The answer is empty if there is none.
func (d *Decoder) probe(ctx context.Context, j job) (c contents) {
	const most = 256 << 10
	p, err := d.run(ctx, j, sandbox.Command{Program: d.ffprobe, Args: append(d.input(j.container),
		"-select_streams", "v", "-show_entries", entries, "-of", "json", "/dev/fd/3")})
	if err != nil {
		return c
	}
	out, err := io.ReadAll(io.LimitReader(p.Stdout, most))
	p.Kill() // it has ended, or tells too much
	_ = d.wait(p)
	if err != nil || json.Unmarshal(out, &c) != nil {
		return contents{}
	}
	return c
}

// rate reads a fraction; 0 if it makes no sense.
func rate(text string) float64 {
	over, under, _ := strings.Cut(text, "/")
	a, errA := strconv.ParseFloat(over, 64)
	b, errB := strconv.ParseFloat(under, 64)
	if r := a / b; errA == nil && errB == nil && r > 0 && r <= 1e6 {
		return r
	}
	return 0
}

// duration reads seconds; 0 if they make no sense.
func duration(text string) time.Duration {
	s, err := strconv.ParseFloat(text, 64)
	if err != nil || !(s > 0 && s <= math.MaxUint32/1000) {
		return 0
	}
	return time.Duration(s * float64(time.Second))
}

// undecoded says why nothing of a track could be decoded.
func (d *Decoder) undecoded(t track) error {
	if t.codec != "" && !accepts(t.codec) {
		return &hashing.MediaError{Kind: hashing.Unsupported, Detail: "video of the codec " + t.codec + " is not decoded here"}
	}
	detail := "no frame of the video could be decoded"
	if !t.sized { // ffprobe neither: a broken file, or frames over the limit
		detail += fmt.Sprintf("; accepted are frames of at most %d pixels", d.o.Limits.Pixels)
	}
	return &hashing.MediaError{Kind: hashing.Corrupt, Detail: detail}
}
