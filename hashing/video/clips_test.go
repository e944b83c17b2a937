package video_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"vigie/hashing"
	"vigie/hashing/pdq"
	"vigie/hashing/video"
	"vigie/internal/datatest"
)

// The clips are slide-shows with moving cameras and crossfades over the pictures of the test data, two
// pictures each that no other clip shows. Their size is small because encoding is what the test waits for.
const (
	clipWidth, clipHeight = 320, 240
	clipRate              = 24
	clipSeconds           = 30
	shotSeconds           = 3
	fadeSeconds           = 0.5
	querySeconds          = 5
)

// edits are what becomes of 5 seconds of a clip: a filter and options of the encoder.
var edits = []struct {
	name    string
	filter  string
	encoder string
	bound   bool // 95 % must be found
}{
	{"300 kbit/s", "null", "-b:v 300k", true},
	{"150 kbit/s", "null", "-b:v 150k", true},
	{"75 kbit/s", "null", "-b:v 75k", true},
	{"scaled 65 %", "scale=208:156", "-crf 23", true},
	{"mirrored", "hflip", "-crf 23", true},
	{"letterboxed", "pad=iw:ih*4/3:0:(oh-ih)/2", "-crf 23", true},
	{"logo", "drawbox=x=iw*0.82:y=ih*0.05:w=iw*0.14:h=ih*0.10:color=white:t=fill,drawbox=x=iw*0.84:y=ih*0.08:w=iw*0.10:h=ih*0.04:color=red:t=fill", "-crf 23", true},
	{"24 to 30 fps", "fps=30", "-crf 23", true},
	{"phone frame", "scale=320:240,pad=360:640:20:160:color=0x202428,drawbox=x=20:y=24:w=200:h=14:color=0xd0d0d0:t=fill,drawbox=x=20:y=52:w=90:h=8:color=0x808080:t=fill,drawbox=x=20:y=430:w=280:h=10:color=0xc0c0c0:t=fill,drawbox=x=20:y=452:w=160:h=10:color=0xa0a0a0:t=fill,drawbox=x=40:y=600:w=20:h=20:color=white:t=fill,drawbox=x=300:y=600:w=20:h=20:color=white:t=fill", "-crf 23", false},
}

// TestClips makes clips and copies of parts of them, hashes both, and prints how many of the parts are
// found: at least one frame within 31 bits of a frame of the clip that they come from. In most clips the
// camera moves as slide-shows have it: about a tenth of its view in a shot of 3 seconds, up to four tenths. In
// the last ones it flies, and two frames
// half a second apart have little in common. What is known has a frame for each second; the copies are asked
// with as many, and with those of a check.
func TestClips(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("makes an hour of video")
	}
	calm, fast := 100, 20
	if n, err := strconv.Atoi(os.Getenv("VIGIE_TEST_CLIPS")); err == nil { // fewer, for a quick look
		calm, fast = n, n/4
	}
	pictures := clipPictures(t, filepath.Join(datatest.Folder(t), "images"))
	if len(pictures) < 2*calm {
		t.Fatalf("%d pictures; needed are %d", len(pictures), 2*calm)
	}
	d := newDecoder(t, video.Options{})
	dir := t.TempDir()
	clips := make([]clip, calm+fast)
	parallel(t, len(clips), func(i int) error {
		c := clip{start: i * 7919 % (clipSeconds - querySeconds + 1)}
		name := filepath.Join(dir, fmt.Sprintf("%d.mp4", i))
		k, motion := i, 0.4
		if i >= calm {
			k, motion = i-calm, 1
		}
		if err := makeClip(t.Context(), name, pictures[2*k:2*k+2], motion, uint64(i)); err != nil {
			return err
		}
		var err error
		if c.known, err = frames(t.Context(), d, name, hashing.VideoOptions{All: true}); err != nil {
			return err
		}
		names, err := makeCopies(t.Context(), name, c.start)
		if err != nil {
			return err
		}
		c.copies = make([][]hashing.Frame, len(names))
		for e, name := range names {
			if c.copies[e], err = frames(t.Context(), d, name, hashing.VideoOptions{All: true, PerSecond: hashing.CheckPerSecond}); err != nil {
				return fmt.Errorf("%s: %w", edits[e].name, err)
			}
			os.Remove(name)
		}
		clips[i] = c
		return nil
	})

	// How much pruning costs: the same search with frames pruned at several radii, on both sides.
	for _, perSecond := range []int{1, hashing.CheckPerSecond} {
		t.Logf("asked %d times a second: pruned within, frames kept, found %% by edit", perSecond)
		for _, radius := range []int{-1, 6, video.PruneRadius, 14, 18, 22} {
			known, asked := 0, 0
			shares := ""
			for e := range edits {
				found := 0
				for _, c := range clips[:calm] {
					query := prune(thin(c.copies[e], perSecond), radius)
					asked += len(query)
					if search(query, prune(c.known, radius)).frames > 0 {
						found++
					}
				}
				shares += fmt.Sprintf(" %3d", found*100/calm)
			}
			for _, c := range clips[:calm] {
				known += len(prune(c.known, radius))
			}
			t.Logf("%2d bits: %5d known, %5d asked: %s", radius, known, asked, shares)
		}
	}

	for _, group := range []struct {
		name      string
		clips     []clip
		perSecond int
		bound     bool
	}{
		{"calm", clips[:calm], 1, false},
		{"calm", clips[:calm], hashing.CheckPerSecond, true},
		{"fast", clips[calm:], 1, false},
		{"fast", clips[calm:], hashing.CheckPerSecond, false},
	} {
		t.Logf("%s camera, asked %d times a second", group.name, group.perSecond)
		t.Logf("%-14s %6s %7s %13s %15s %11s", "edit", "copies", "found", "frames found", "time within 2 s", "false pairs")
		for e, edit := range edits {
			found, asked, hits, near, falsePairs, least := 0, 0, 0, 0, 0, 256
			for i, c := range group.clips {
				query := prune(thin(c.copies[e], group.perSecond), video.PruneRadius)
				asked += len(query)
				s := search(query, prune(c.known, video.PruneRadius))
				hits += s.frames
				if s.frames > 0 {
					found++
				}
				for k, m := range s.pairs {
					if shift := int(m) - int(query[k].Time) - 1000*c.start; shift > -2000 && shift < 2000 {
						near++
					}
				}
				for j, other := range group.clips {
					if i == j {
						continue
					}
					s := search(query, other.known)
					least = min(least, s.least)
					if s.frames > 0 {
						falsePairs++
						t.Logf("clips %d and %d match: %d bits", i, j, s.least)
					}
				}
			}
			n := len(group.clips)
			t.Logf("%-14s %6d %6d%% %12d%% %14d%% %5d (least distance %d)", edit.name, n, found*100/n, hits*100/max(1, asked), near*100/max(1, hits), falsePairs, least)
			if group.bound && edit.bound && found*100 < 95*n {
				t.Errorf("%s: %d of %d found", edit.name, found, n)
			}
			if falsePairs > 0 {
				t.Errorf("%s: %d pairs of unrelated clips match", edit.name, falsePairs)
			}
		}
	}

	// Six clips in one video of three minutes.
	members, foundMembers := 0, 0
	for first := 0; first+6 <= min(30, calm); first += 6 {
		name := filepath.Join(dir, "compilation.mp4")
		if err := compile(t.Context(), dir, name, first, 6); err != nil {
			t.Fatal(err)
		}
		query, err := frames(t.Context(), d, name, hashing.VideoOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for j, c := range clips[:calm] {
			s := search(query, prune(c.known, video.PruneRadius))
			if j < first || j >= first+6 {
				if s.frames > 0 {
					t.Errorf("the compilation from %d matches clip %d", first, j)
				}
				continue
			}
			members++
			if s.frames > 0 {
				foundMembers++
			}
		}
	}
	t.Logf("of %d clips within compilations of 3 minutes, %d are found", members, foundMembers)
	if foundMembers*100 < members*95 {
		t.Error("too few")
	}
}

// clip is what is known of a clip, and its copies by edit, of the 5 seconds from start on.
type clip struct {
	start  int
	known  []hashing.Frame
	copies [][]hashing.Frame
}

// thin leaves one frame for each part of a second.
func thin(all []hashing.Frame, perSecond int) []hashing.Frame {
	var kept []hashing.Frame
	for _, f := range all {
		if len(kept) == 0 || int(f.Time-kept[len(kept)-1].Time) >= 1000/perSecond-10 {
			kept = append(kept, f)
		}
	}
	return kept
}

// match is what a search found.
type match struct {
	frames int            // of the query that have one within 31 bits
	least  int            // distance
	pairs  map[int]uint32 // the query's frame: the time of the nearest
}

// search compares all the queries' frames, in all their renderings and orientations, with all that
// are known: brute force.
func search(query, known []hashing.Frame) match {
	m := match{least: 256, pairs: map[int]uint32{}}
	for i, f := range query {
		least, at := 256, uint32(0)
		for _, q := range f.Queries {
			for _, k := range known {
				for _, s := range k.Signals {
					if distance := q.Signal.Value.Distance(s.Value); distance < least {
						least, at = distance, k.Time
					}
				}
			}
		}
		m.least = min(m.least, least)
		if least <= 31 {
			m.frames++
			m.pairs[i] = at
		}
	}
	return m
}

// prune is the rule that Decoder.Video applies, at another radius; -1 keeps all.
func prune(all []hashing.Frame, radius int) []hashing.Frame {
	var kept []hashing.Frame
	for _, f := range all {
		if len(kept) == 0 || !same(f, kept[len(kept)-1], radius) {
			kept = append(kept, f)
		}
	}
	return kept
}

// same reports whether the renderings that two frames have in common are alike, and there is one.
func same(a, b hashing.Frame, radius int) bool {
	distances := []int{}
	for v := hashing.Plain; v.Valid(); v++ {
		of := func(s hashing.Signal) bool { return s.Variant == v }
		i, j := slices.IndexFunc(a.Signals, of), slices.IndexFunc(b.Signals, of)
		if i >= 0 && j >= 0 {
			distances = append(distances, a.Signals[i].Value.Distance(b.Signals[j].Value))
		}
	}
	return len(distances) > 0 && slices.Max(distances) <= radius
}

func frames(ctx context.Context, d *video.Decoder, name string, o hashing.VideoOptions) ([]hashing.Frame, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var all []hashing.Frame
	_, err = d.Video(ctx, data, o, func(f hashing.Frame) error {
		if len(f.Signals) > 0 {
			all = append(all, f)
		}
		return nil
	})
	return all, err
}

// parallel runs f for 0..n-1 on all processors, and fails the test at the first error.
func parallel(t *testing.T, n int, f func(int) error) {
	t.Helper()
	jobs := make(chan int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range jobs {
				if err := f(i); err != nil {
					mu.Lock()
					failed = errors.Join(failed, fmt.Errorf("clip %d: %w", i, err))
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		jobs <- i
	}
	close(jobs)
	wg.Wait()
	if failed != nil {
		t.Fatal(failed)
	}
}

// clipPictures are pictures of some detail and size that show different things: no two of them within
// 60 bits of one another in any orientation.
func clipPictures(t *testing.T, dir string) []*image.Gray {
	t.Helper()
	var pictures []*image.Gray
	var known []pdq.Hash
	var hasher pdq.Hasher
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		m, _, err := image.Decode(f)
		if err != nil || min(m.Bounds().Dx(), m.Bounds().Dy()) < 200 {
			return nil // another format, or too small
		}
		g := shrink(m)
		luma := make([]float32, len(g.Pix))
		for i, v := range g.Pix {
			luma[i] = float32(v)
		}
		hashes, quality := hasher.Dihedral(luma, g.Rect.Dx(), g.Rect.Dy())
		if quality < 80 {
			return nil
		}
		for _, h := range hashes {
			for _, k := range known {
				if h.Distance(k) <= 60 {
					return nil
				}
			}
		}
		known = append(known, hashes[0])
		pictures = append(pictures, g)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(pictures), func(i, j int) { pictures[i], pictures[j] = pictures[j], pictures[i] })
	return pictures
}

// shrink returns the picture in gray, its longer side at most 800, by the means of squares.
func shrink(m image.Image) *image.Gray {
	b := m.Bounds()
	factor := (max(b.Dx(), b.Dy()) + 799) / 800
	g := image.NewGray(image.Rect(0, 0, b.Dx()/factor, b.Dy()/factor))
	for y := range g.Rect.Dy() {
		for x := range g.Rect.Dx() {
			sum := 0
			for dy := range factor {
				for dx := range factor {
					r, gr, bl, _ := m.At(b.Min.X+x*factor+dx, b.Min.Y+y*factor+dy).RGBA()
					sum += int(299*r+587*gr+114*bl) / 1000 >> 8
				}
			}
			g.Pix[y*g.Stride+x] = uint8(sum / (factor * factor))
		}
	}
	return g
}

// window is what a camera sees of a picture: its middle and its width, as parts of the picture's.
type window struct{ x, y, size float64 }

// shot is a movement of the camera over a picture.
type shot struct {
	picture  *image.Gray
	from, to window
}

func (s shot) draw(dst []float64, at float64, weight float64) {
	mix := func(a, b float64) float64 { return a + (b-a)*at }
	w := window{mix(s.from.x, s.to.x), mix(s.from.y, s.to.y), mix(s.from.size, s.to.size)}
	width, height := float64(s.picture.Rect.Dx()-1), float64(s.picture.Rect.Dy()-1)
	// The window has the clip's aspect ratio and fits the picture.
	span := min(width, height*clipWidth/clipHeight) * w.size
	step := span / clipWidth
	left := (width - span) * w.x
	top := (height - span*clipHeight/clipWidth) * w.y
	for y := range clipHeight {
		fy := top + float64(y)*step
		iy := min(int(fy), int(height)-1)
		ay := fy - float64(iy)
		row, next := s.picture.Pix[iy*s.picture.Stride:], s.picture.Pix[(iy+1)*s.picture.Stride:]
		for x := range clipWidth {
			fx := left + float64(x)*step
			ix := min(int(fx), int(width)-1)
			ax := fx - float64(ix)
			v := (1-ay)*((1-ax)*float64(row[ix])+ax*float64(row[ix+1])) + ay*((1-ax)*float64(next[ix])+ax*float64(next[ix+1]))
			dst[y*clipWidth+x] += weight * v
		}
	}
}

// makeClip draws a clip and has ffmpeg encode it.
func makeClip(ctx context.Context, name string, pictures []*image.Gray, motion float64, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 3))
	shots := make([]shot, clipSeconds/shotSeconds)
	see := func() window { return window{r.Float64(), r.Float64(), 0.5 + 0.5*r.Float64()} }
	toward := func(a, b window) window {
		return window{a.x + motion*(b.x-a.x), a.y + motion*(b.y-a.y), a.size * (1 + motion*(b.size/a.size-1))}
	}
	for i := range shots {
		from := see()
		shots[i] = shot{pictures[i%len(pictures)], from, toward(from, see())}
	}
	return encode(ctx, func(w io.Writer) error {
		sum := make([]float64, clipWidth*clipHeight)
		out := make([]byte, len(sum))
		for n := range clipSeconds * clipRate {
			clear(sum)
			seconds := float64(n) / clipRate
			i := min(int(seconds/shotSeconds), len(shots)-1)
			at := seconds/shotSeconds - float64(i)
			fade := 0.0
			if left := shotSeconds * (1 - at); left < fadeSeconds && i+1 < len(shots) {
				fade = 1 - left/fadeSeconds
				shots[i+1].draw(sum, 0, fade)
			}
			shots[i].draw(sum, at, 1-fade)
			for k, v := range sum {
				out[k] = uint8(v + 0.5)
			}
			if _, err := w.Write(out); err != nil {
				return err
			}
		}
		return nil
	}, "-f", "rawvideo", "-pix_fmt", "gray", "-video_size", fmt.Sprintf("%dx%d", clipWidth, clipHeight), "-framerate", fmt.Sprint(clipRate), "-i", "-",
		"-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", "-pix_fmt", "yuv420p", "-threads", "1", name)
}

// makeCopies writes all edits of 5 seconds of a clip.
func makeCopies(ctx context.Context, name string, start int) ([]string, error) {
	graph := fmt.Sprintf("[0:v]split=%d", len(edits))
	for i := range edits {
		graph += fmt.Sprintf("[s%d]", i)
	}
	var outputs, names []string
	for i, e := range edits {
		graph += fmt.Sprintf(";[s%d]%s[o%d]", i, e.filter, i)
		copied := strings.TrimSuffix(name, ".mp4") + fmt.Sprintf("-%d.mp4", i)
		names = append(names, copied)
		outputs = append(outputs, "-map", fmt.Sprintf("[o%d]", i), "-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-pix_fmt", "yuv420p")
		outputs = append(outputs, strings.Fields(e.encoder)...)
		outputs = append(outputs, copied)
	}
	args := append([]string{"-ss", fmt.Sprint(start), "-t", fmt.Sprint(querySeconds), "-i", name, "-filter_complex", graph}, outputs...)
	return names, encode(ctx, nil, args...)
}

// compile joins clips, encoded again.
func compile(ctx context.Context, dir, name string, first, count int) error {
	var args []string
	graph := ""
	for i := range count {
		args = append(args, "-i", filepath.Join(dir, fmt.Sprintf("%d.mp4", first+i)))
		graph += fmt.Sprintf("[%d:v]", i)
	}
	graph += fmt.Sprintf("concat=n=%d:v=1", count)
	return encode(ctx, nil, append(args, "-filter_complex", graph, "-c:v", "libx264", "-preset", "ultrafast", "-crf", "26", "-threads", "1", name)...)
}

// encode runs ffmpeg, with what input writes on its standard input.
func encode(ctx context.Context, input func(io.Writer) error, args ...string) error {
	c := exec.CommandContext(ctx, "ffmpeg", append([]string{"-hide_banner", "-loglevel", "error", "-y"}, args...)...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if input == nil {
		if err := c.Run(); err != nil {
			return fmt.Errorf("%w: %s", err, stderr.Bytes())
		}
		return nil
	}
	w, err := c.StdinPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	written := input(w)
	w.Close()
	if err := errors.Join(c.Wait(), written); err != nil {
		return fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	return nil
}
