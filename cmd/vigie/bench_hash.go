package main

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/corona10/goimagehash"
	"github.com/gen2brain/jpegn"
	"golang.org/x/image/bmp"
	"golang.org/x/image/draw"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"
	"golang.org/x/sync/errgroup"

	"vigie/fixtures"
	"vigie/hashing"
	"vigie/hashing/decode"
	"vigie/hashing/fingerprint"
	"vigie/hashing/pdq"
	"vigie/hashing/sandbox"
	"vigie/hashing/video"
	"vigie/index"
	"vigie/internal/chart"
	"vigie/matcher"
	"vigie/rescan"
)

// benchPictures holds fixtures/pictures/hills.jpg in the formats that nothing here encodes: AVIF and HEIC.
//
//go:embed bench
var benchPictures embed.FS

type hashBenchCmd struct {
	Folder   string        `arg:"" optional:"" help:"Folder of pictures and videos, with all below it; without one, the built-in pictures."`
	Rounds   int           `help:"Each picture is timed so often; the least times count." default:"5"`
	Entries  int           `help:"Random entries in the index that is searched." default:"100000"`
	Duration time.Duration `help:"How long all processors hash, for the throughput." default:"5s"`
	benchFiles
}

// hashTimes are what one picture, or the mean one of a class, takes, in milliseconds. What a check
// computes is Child; its parts follow each other in it, but for Read and Search.
type hashTimes struct {
	Name     string  `json:"name"`
	Format   string  `json:"format"`
	Size     string  `json:"size"` // in pixels: "1920x1080", or the class
	Pictures int     `json:"pictures"`
	KB       float64 `json:"kb"` // of one file

	Read     float64 `json:"read_ms"`   // from the disk, with the digests
	Decode   float64 `json:"decode_ms"` // in this process, as the next three
	Reduce   float64 `json:"reduce_ms"`
	Hash     float64 `json:"hash_ms"`     // PDQ of the plain rendering in eight orientations
	Variants float64 `json:"variants_ms"` // all else: other renderings, borders, frames, thumbnails
	HandOver float64 `json:"hand_over_ms"`
	Child    float64 `json:"child_ms"` // all of it through a decode child, timed apart
	Search   float64 `json:"search_ms"`
	Queries  float64 `json:"queries"`

	Baseline float64 `json:"baseline_ms"`         // standard library and goimagehash's three hashes of the full picture
	Bare     float64 `json:"bare_jpegn_ms"`       // JPEG only: jpegn at the same scale, nothing else
	OverBare float64 `json:"child_to_bare_jpegn"` // Child / Bare
	Gain     float64 `json:"baseline_to_child"`   // Baseline / Child

	pixels, class int
}

// hashReport is what vigie bench hash finds.
type hashReport struct {
	Kernel     string        `json:"kernel"`
	Processors int           `json:"processors"`
	Entries    int           `json:"entries"`
	Named      []hashTimes   `json:"named"`
	Classes    []hashTimes   `json:"classes"`
	PerSecond  float64       `json:"pictures_per_second"`
	MBPerSec   float64       `json:"megabytes_per_second"`
	Videos     []videoTimes  `json:"videos"`
	Skipped    []skippedFile `json:"skipped"`
}

// videoTimes are what one video takes, by its keyframes and as a check sees it. CPU is that of ffmpeg, in
// all its threads; the rest is hashing in this process.
type videoTimes struct {
	Name    string      `json:"name"`
	Format  string      `json:"format"`
	Size    string      `json:"size"`
	Seconds float64     `json:"seconds"`
	Keys    videoTiming `json:"keyframes"`
	Check   videoTiming `json:"check"`
}

type videoTiming struct {
	Frames int     `json:"frames"` // kept
	Wall   float64 `json:"ms"`
	CPU    float64 `json:"ffmpeg_cpu_ms"`
}

// Run times, and prints.
func (c *hashBenchCmd) Run(ctx context.Context, a *app) error {
	if c.Rounds < 1 || c.Entries < 0 || c.Duration <= 0 {
		return usagef("--rounds and --duration must be positive, --entries not negative")
	}
	files, err := c.files(ctx, a.limits().Bytes)
	if err != nil {
		return err
	}
	pool, err := sandbox.New(a.sandbox())
	if err != nil {
		return err
	}
	defer pool.Close()
	b := hashBench{rounds: c.Rounds, limits: a.limits(), pool: pool, hasher: fingerprint.New(a.limits())}
	if b.snapshot, err = randomIndex(ctx, c.Entries); err != nil {
		return err
	}
	report := hashReport{Kernel: pdq.Kernel(), Processors: runtime.GOMAXPROCS(0), Entries: c.Entries, Skipped: []skippedFile{}}
	bar := a.countdown(len(files), "pictures")
	defer bar.end()
	var all []hashTimes
	var hashed []timedFile
	for _, f := range files {
		var times hashTimes
		var clip videoTimes
		if f.class == decode.Video {
			clip, err = c.video(ctx, a, f)
		} else {
			times, err = b.time(ctx, f)
		}
		bar.done()
		why, itsFault := fileFault(err)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case itsFault:
			report.Skipped = append(report.Skipped, skippedFile{f.name, why})
		case err != nil:
			return fmt.Errorf("time %s: %w", printable(f.name), err)
		case f.class == decode.Video:
			report.Videos = append(report.Videos, clip)
		case f.named:
			report.Named = append(report.Named, times)
		default:
			all, hashed = append(all, times), append(hashed, f)
		}
	}
	bar.end()
	report.Classes = classes(all)
	if report.PerSecond, report.MBPerSec, err = throughput(ctx, pool, hashed, c.Duration); err != nil {
		return err
	}
	return c.benchFiles.publish(a.printer, report)
}

// timedFile is a picture to be timed. A named one stands in a row of its own.
type timedFile struct {
	name  string
	named bool
	class decode.Class // what its first bytes say; Unknown if it cannot be read
	read  func() (hashing.Media, error)
}

// files are the pictures of the folder, and copies of its largest JPEG that stand for what is uploaded
// most: 1920 x 1080 pixels in about 200 and 700 KB. The largest one itself is named too.
func (c *hashBenchCmd) files(ctx context.Context, limit int64) ([]timedFile, error) {
	found, err := c.found(ctx)
	if err != nil {
		return nil, err
	}
	files := make([]timedFile, 0, len(found)+3)
	var largest hashing.Media
	var name string
	for _, f := range found {
		media, _ := f.read(limit) // an error comes again when it is timed
		kind := decode.Sniff(media.Data)
		files = append(files, timedFile{name: f.name, class: kind.Class, read: func() (hashing.Media, error) { return f.read(limit) }})
		if kind.Name == "jpeg" && len(media.Data) > len(largest.Data) {
			largest, name = media, f.name
		}
	}
	made := func(name string, data []byte) {
		files = append(files, timedFile{name: name, named: true, read: func() (hashing.Media, error) {
			return hashing.ReadMedia(bytes.NewReader(data), limit)
		}})
	}
	if largest.Data == nil {
		return files, nil
	}
	made(name, largest.Data)
	for _, kb := range []int{200, 700} {
		if data, err := fullHD(largest.Data, kb<<10); err == nil { // the standard library reads fewer files than we do
			made(fmt.Sprintf("%s at 1920x1080, %d KB", path.Base(name), kb), data)
		}
	}
	return files, nil
}

// found are the files of the folder, or the built-in ones.
func (c *hashBenchCmd) found(ctx context.Context) ([]benchFile, error) {
	if c.Folder != "" {
		files, err := filesIn(ctx, c.Folder)
		if err != nil {
			return nil, usageError{err}
		}
		return files, nil
	}
	var files []benchFile
	for _, from := range []struct {
		files  embed.FS
		folder string
	}{{fixtures.Files, "pictures"}, {benchPictures, "bench"}} {
		pictures, err := fs.Sub(from.files, from.folder)
		if err != nil {
			return nil, err
		}
		more, err := filesBelow(ctx, rescan.Folder{FS: pictures})
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	return files, nil
}

// fullHD scales a picture to 1920 x 1080 and encodes it at the quality that comes nearest to a size.
func fullHD(data []byte, size int) ([]byte, error) {
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	small := image.NewRGBA(image.Rect(0, 0, 1920, 1080))
	draw.CatmullRom.Scale(small, small.Rect, img, img.Bounds(), draw.Src, nil)
	var best []byte
	low, high := 1, 100
	for low <= high {
		quality := (low + high) / 2
		var b bytes.Buffer
		if err := jpeg.Encode(&b, small, &jpeg.Options{Quality: quality}); err != nil {
			return nil, err
		}
		if best == nil || abs(b.Len()-size) < abs(len(best)-size) {
			best = b.Bytes()
		}
		if b.Len() < size {
			low = quality + 1
		} else {
			high = quality - 1
		}
	}
	return best, nil
}

func abs(n int) int { return max(n, -n) }

// video hashes a video both ways, again and again, and keeps the least times.
func (c *hashBenchCmd) video(ctx context.Context, a *app, f timedFile) (videoTimes, error) {
	t := videoTimes{Name: f.name}
	media, err := f.read()
	if err != nil {
		return t, err
	}
	var cpu time.Duration
	decoder, err := video.New(video.Options{Program: a.Ffmpeg, Used: func(u sandbox.Usage) { cpu += u.CPU }})
	if err != nil {
		return t, err
	}
	for range c.Rounds {
		for _, way := range []struct {
			to      *videoTiming
			options hashing.VideoOptions
		}{
			{&t.Keys, hashing.VideoOptions{Keyframes: true}},
			{&t.Check, hashing.VideoOptions{PerSecond: hashing.CheckPerSecond}},
		} {
			cpu = 0
			begun := time.Now()
			v, err := decoder.Video(ctx, media.Data, way.options, nil)
			if err != nil {
				return t, err
			}
			timing := videoTiming{Frames: v.Frames, Wall: milliseconds(time.Since(begun)), CPU: milliseconds(cpu)}
			if way.to.Wall == 0 || timing.CPU < way.to.CPU {
				*way.to = timing
			}
			t.Format, t.Size, t.Seconds = v.Format, fmt.Sprintf("%dx%d", v.Width, v.Height), float64(v.Duration)/1000
		}
	}
	return t, nil
}

// stage is a part of the work, and where its least time is kept.
type stage struct {
	of  *float64
	run func() error
}

// hashBench times pictures.
type hashBench struct {
	rounds   int
	limits   hashing.Limits
	pool     *sandbox.Pool
	hasher   *fingerprint.Hasher
	pdq      pdq.Hasher
	luma     decode.Luma
	snapshot *index.Snapshot
}

// time runs all stages of one picture in turn, again and again, and keeps the least time of each. What
// another program decodes has no stages here.
func (b *hashBench) time(ctx context.Context, f timedFile) (hashTimes, error) {
	t := hashTimes{Name: f.name, Pictures: 1}
	var whole float64 // what a child does, done here
	var compared bool // the baseline reads the file
	for range b.rounds {
		var media hashing.Media
		var img *decode.Image
		var picture hashing.Picture
		stages := []stage{{&t.Read, func() (err error) { media, err = f.read(); return err }}}
		if f.class != decode.External {
			stages = append(stages,
				stage{&t.Decode, func() (err error) { img, err = decode.Decode(media.Data, b.limits); return err }},
				stage{&t.Reduce, func() error { img.Reduced(&b.luma, decode.Bare); return nil }},
				stage{&t.Hash, func() error { b.hash(); return nil }},
				stage{&whole, func() (err error) { _, err = b.hasher.Picture(ctx, media.Data); return err }})
		}
		stages = append(stages,
			stage{&t.Child, func() (err error) { picture, err = b.pool.Picture(ctx, media.Data); return err }},
			stage{&t.Search, func() error { return searchAll(ctx, b.snapshot, picture.Queries) }},
			stage{&t.Baseline, func() (err error) { compared, err = baseline(media.Data); return err }},
			stage{&t.Bare, func() error { return bareJPEG(media.Data, picture.Format, min(picture.Width, picture.Height)) }})
		for _, stage := range stages {
			begun := time.Now()
			err := stage.run()
			if err != nil {
				return t, err
			}
			if ms := float64(time.Since(begun).Nanoseconds()) / 1e6; *stage.of == 0 || ms < *stage.of {
				*stage.of = ms
			}
		}
		t.Format, t.Size, t.KB = picture.Format, fmt.Sprintf("%dx%d", picture.Width, picture.Height), float64(len(media.Data))/1024
		t.Queries, t.pixels = float64(len(picture.Queries)), picture.Width*picture.Height
	}
	if t.Format != "jpeg" {
		t.Bare = 0
	}
	if !compared {
		t.Baseline = 0
	}
	if whole > 0 {
		t.Variants = max(0, whole-t.Decode-t.Reduce-t.Hash)
		t.HandOver = max(0, t.Child-whole)
	}
	t.ratios()
	return t, nil
}

func (b *hashBench) hash() {
	if l := &b.luma; l.Bytes != nil {
		b.pdq.DihedralBytes(l.Bytes, l.Width, l.Height)
	} else {
		b.pdq.Dihedral(l.Floats, l.Width, l.Height)
	}
}

func (t *hashTimes) ratios() {
	if t.Bare > 0 {
		t.OverBare = t.Child / t.Bare
	}
	if t.Child > 0 {
		t.Gain = t.Baseline / t.Child
	}
}

// plainDecoders are what a Go service without Vigie would decode with.
var plainDecoders = map[string]func(io.Reader) (image.Image, error){
	"jpeg": jpeg.Decode, "png": png.Decode, "gif": gif.Decode, "webp": webp.Decode, "bmp": bmp.Decode, "tiff": tiff.Decode,
}

// baseline hashes the full picture with goimagehash's three hashes, unless it is a file that the
// plain decoders do not read.
func baseline(data []byte) (done bool, err error) {
	plain, ok := plainDecoders[decode.Sniff(data).Name]
	if !ok {
		return false, nil
	}
	img, err := plain(bytes.NewReader(data))
	if err != nil {
		return false, nil
	}
	for _, hash := range []func(image.Image) (*goimagehash.ImageHash, error){
		goimagehash.PerceptionHash, goimagehash.DifferenceHash, goimagehash.AverageHash,
	} {
		if _, err := hash(img); err != nil {
			return false, err
		}
	}
	return true, nil
}

// bareJPEG decodes at the scale that hashing uses, and does nothing with it.
func bareJPEG(data []byte, format string, shorter int) error {
	if format != "jpeg" {
		return nil
	}
	scale := 1
	for scale < 8 && shorter >= 2*scale*decode.ReducedSide {
		scale *= 2
	}
	_, err := jpegn.Decode(bytes.NewReader(data), &jpegn.Options{ScaleDenom: scale})
	if err != nil {
		return nil // a kind of JPEG that others decode
	}
	return nil
}

// randomIndex is an index of n entries with one PDQ hash each.
func randomIndex(ctx context.Context, n int) (*index.Snapshot, error) {
	rng := rand.New(rand.NewPCG(1, 2))
	changes := make([]index.Change, n)
	for i := range changes {
		changes[i] = index.Change{Entry: index.EntryID(i + 1), Bank: 1, Signals: []hashing.Signal{{
			Algorithm: hashing.PDQ, Version: hashing.PDQ.Version(), Quality: hashing.MaxQuality,
			Value: hashing.Value{rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64()},
		}}}
	}
	x := index.New(index.Options{})
	err := x.Apply(ctx, 1, changes)
	return x.Snapshot(), err
}

// searchAll asks what a check of the picture asks, at the default radius.
func searchAll(ctx context.Context, s *index.Snapshot, queries []hashing.Query) error {
	asked := make([]index.Query, len(queries))
	for i, q := range queries {
		asked[i] = index.Query{Algorithm: q.Signal.Algorithm, Value: q.Signal.Value, Radius: matcher.DefaultPolicy().Radius[q.Signal.Algorithm]}
	}
	_, err := s.SearchMany(ctx, asked)
	return err
}

// throughput hashes the files over and over in all decode children.
func throughput(ctx context.Context, pool *sandbox.Pool, files []timedFile, lasting time.Duration) (pictures, megabytes float64, err error) {
	var media []hashing.Media
	for _, f := range files {
		m, err := f.read()
		if err != nil {
			return 0, 0, err
		}
		media = append(media, m)
	}
	if len(media) == 0 {
		return 0, 0, nil
	}
	var next, done, bytes atomic.Int64
	begun := time.Now()
	var workers errgroup.Group
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() error {
			for time.Since(begun) < lasting {
				m := media[int(next.Add(1)-1)%len(media)]
				if _, err := pool.Picture(ctx, m.Data); err != nil {
					return err
				}
				done.Add(1)
				bytes.Add(int64(len(m.Data)))
			}
			return nil
		})
	}
	err = workers.Wait()
	seconds := time.Since(begun).Seconds()
	return float64(done.Load()) / seconds, float64(bytes.Load()) / 1e6 / seconds, err
}

// The classes of size, by pixels.
var sizeClasses = []struct {
	below int
	name  string
}{{500_000, "under 0.5 MP"}, {2_000_000, "0.5 to 2 MP"}, {6_000_000, "2 to 6 MP"}, {math.MaxInt, "over 6 MP"}}

// classes are the means of each format and size.
func classes(all []hashTimes) []hashTimes {
	var sums []hashTimes
	for _, t := range all {
		size := slices.IndexFunc(sizeClasses, func(c struct {
			below int
			name  string
		},
		) bool {
			return t.pixels < c.below
		})
		t.Size, t.class = sizeClasses[size].name, size
		i := slices.IndexFunc(sums, func(s hashTimes) bool { return s.Format == t.Format && s.Size == t.Size })
		if i < 0 {
			t.Name = ""
			sums = append(sums, t)
			continue
		}
		for j, v := range t.values() {
			*sums[i].values()[j] += *v
		}
		sums[i].Pictures++
	}
	for i := range sums {
		for _, v := range sums[i].values() {
			*v /= float64(sums[i].Pictures)
		}
		sums[i].ratios()
	}
	slices.SortFunc(sums, func(a, b hashTimes) int {
		return cmp.Or(strings.Compare(a.Format, b.Format), cmp.Compare(a.class, b.class))
	})
	return sums
}

// values are what is averaged over a class.
func (t *hashTimes) values() []*float64 {
	return []*float64{&t.KB, &t.Read, &t.Decode, &t.Reduce, &t.Hash, &t.Variants, &t.HandOver, &t.Child, &t.Search, &t.Queries, &t.Baseline, &t.Bare}
}

func (r hashReport) sheets() []sheet {
	head := []string{"picture", "size", "KB", "read", "decode", "reduce", "hash", "variants", "hand-over", "child", "search", "baseline", "bare jpegn", "child / bare", "baseline / child"}
	line := func(t hashTimes) []string {
		cells := []string{t.Name, t.Size, fmt.Sprintf("%.0f", t.KB)}
		if t.Name == "" {
			cells[0] = fmt.Sprintf("%s (%d)", t.Format, t.Pictures)
		}
		for _, v := range []float64{
			t.Read, t.Decode, t.Reduce, t.Hash, t.Variants, t.HandOver, t.Child, t.Search, t.Baseline, t.Bare, t.OverBare, t.Gain,
		} {
			if v == 0 {
				cells = append(cells, "-")
			} else {
				cells = append(cells, fmt.Sprintf("%.2f", v))
			}
		}
		return cells
	}
	ms := func(v float64) string { return fmt.Sprintf("%.0f", v) }
	return slices.DeleteFunc([]sheet{
		{
			title: "Named pictures, in milliseconds",
			note: "Child is all that a check computes of a picture, by a decode child; decode to variants are its parts, done in " +
				"one process, and hand-over is the rest. Baseline: standard library, and goimagehash's three hashes of the full picture. " +
				"Bare jpegn: that decoder at the same scale, nothing else. HEIC is decoded by a program of its own, within child.",
			head: head, rows: rowsOf(r.Named, line),
		},
		{title: "By format and size, means in milliseconds", head: head, rows: rowsOf(r.Classes, line)},
		{
			title: "Videos, in milliseconds",
			note:  "CPU is that of ffmpeg. A check decodes the whole video and looks at four frames a second.",
			head:  []string{"video", "size", "seconds", "keyframes", "time", "CPU", "frames of a check", "time", "CPU"},
			rows: rowsOf(r.Videos, func(t videoTimes) []string {
				return []string{
					t.Name, t.Size, fmt.Sprintf("%.1f", t.Seconds),
					fmt.Sprint(t.Keys.Frames), ms(t.Keys.Wall), ms(t.Keys.CPU), fmt.Sprint(t.Check.Frames), ms(t.Check.Wall), ms(t.Check.CPU),
				}
			}),
		},
		leftOut(r.Skipped),
	}, func(s sheet) bool { return len(s.rows) == 0 })
}

func (hashReport) bench() string { return "hash" }

func (r hashReport) about() string {
	return fmt.Sprintf("%.0f pictures a second, %.1f MB a second, by %d decode children; PDQ kernel %s; search among %d entries; %d files left out.",
		r.PerSecond, r.MBPerSec, r.Processors, r.Kernel, r.Entries, len(r.Skipped))
}

// chart shows where the time of the named pictures goes, and what the baseline takes.
func (r hashReport) chart() chart.Bars {
	c := chart.Bars{
		Title: "Time to hash a picture", Unit: "ms",
		Description: "Two bars for each picture: the decode child, by stages, and the baseline, which is the standard library with goimagehash's three hashes.",
		Series: []chart.Series{
			{Name: "decode", Colour: chart.Palette[0]},
			{Name: "reduce and hash", Colour: chart.Palette[1]},
			{Name: "variants and hand-over", Colour: chart.Palette[2]},
			{Name: "baseline", Colour: chart.Palette[4]},
		},
	}
	for _, t := range r.Named {
		c.Groups = append(c.Groups, chart.Group{Name: t.Name, Bars: []chart.Bar{
			{Label: "child", Values: []float64{t.Decode, t.Reduce + t.Hash, t.Variants + t.HandOver}, Note: fmt.Sprintf("%.1f ms", t.Child)},
			{Label: "baseline", Values: []float64{0, 0, 0, t.Baseline}, Note: fmt.Sprintf("%.1f ms", t.Baseline)},
		}})
	}
	return c
}
