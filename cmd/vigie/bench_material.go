package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/deepteams/webp"
	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"vigie/hashing"
	"vigie/internal/edits"
	"vigie/rescan"
)

// benchFile is a file that the bench flags: a picture whose copies are to be found, or a distractor.
type benchFile struct {
	name string // path below its folder
	open func() (io.ReadCloser, error)
}

func (s benchFile) read(limit int64) (hashing.Media, error) {
	f, err := s.open()
	if err != nil {
		return hashing.Media{}, err
	}
	defer f.Close()
	return hashing.ReadMedia(f, limit)
}

// filesBelow lists a folder with all below it, in order.
func filesBelow(ctx context.Context, folder rescan.Folder) ([]benchFile, error) {
	var files []benchFile
	for item, err := range folder.Items(ctx, "") {
		if err != nil {
			return nil, err
		}
		files = append(files, benchFile{item.Name, item.Open})
	}
	return files, nil
}

// spread keeps n of them (all if n is 0), at even steps: folders are in order of their subjects.
func spread(files []benchFile, n int) []benchFile {
	if n <= 0 || n >= len(files) {
		return files
	}
	kept := make([]benchFile, n)
	for i := range kept {
		kept[i] = files[i*len(files)/n]
	}
	return kept
}

// kindOfEdit is a row of the report.
type kindOfEdit struct {
	name  string
	group string
	set   string // the mean that it counts for
}

// Sets of edits, each with a mean of its own.
const (
	setStandard = "standard"
	setRandom   = "random"
	setExternal = "external"
)

// copiedPicture is an edited copy of a picture: its bytes, and which edit it is.
type copiedPicture struct {
	edit int // place among the kinds
	data []byte
}

// copier makes the edited copies of pictures. Its methods are safe for concurrent use.
type copier interface {
	kinds() []kindOfEdit
	// copies yields the copies of one picture. An error ends them: there are none, or no more.
	copies(name string, data []byte) iter.Seq2[copiedPicture, error]
}

// editor makes copies itself.
type editor struct {
	chosen []edits.Edit
	seed   uint64
	limits hashing.Limits
}

// newEditor makes an editor of the edits of these names; all if there are none.
func newEditor(names []string, seed uint64, limits hashing.Limits) (*editor, error) {
	all := edits.All()
	for _, name := range names {
		if !slices.ContainsFunc(all, func(e edits.Edit) bool { return e.Name == name }) {
			known := make([]string, len(all))
			for i, e := range all {
				known[i] = e.Name
			}
			return nil, usagef("--edits: no edit is named %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	if len(names) > 0 {
		all = slices.DeleteFunc(all, func(e edits.Edit) bool { return !slices.Contains(names, e.Name) })
	}
	return &editor{chosen: all, seed: seed, limits: limits}, nil
}

func (e *editor) kinds() []kindOfEdit {
	kinds := make([]kindOfEdit, len(e.chosen))
	for i, edit := range e.chosen {
		kinds[i] = kindOfEdit{edit.Name, string(edit.Group), setStandard}
		if strings.HasPrefix(edit.Name, "random-") {
			kinds[i].set = setRandom
		}
	}
	return kinds
}

func (e *editor) copies(name string, data []byte) iter.Seq2[copiedPicture, error] {
	return func(yield func(copiedPicture, error) bool) {
		img, err := inColour(data, e.limits)
		if err != nil {
			yield(copiedPicture{}, fmt.Errorf("no copies of it can be made: %w", err))
			return
		}
		base := edits.Reduce(img)
		for i, edit := range e.chosen {
			data, err := edit.Copy(base, e.seed, name)
			if !yield(copiedPicture{i, data}, err) || err != nil {
				return
			}
		}
	}
}

// inColour decodes what edits start from. Hashing has decoders of its own, which keep the light alone.
// Decoders are called by name: the registry of package image is shared with whatever else is linked.
func inColour(data []byte, limits hashing.Limits) (img image.Image, err error) {
	defer func() {
		if p := recover(); p != nil {
			img, err = nil, fmt.Errorf("the decoder failed: %v", p)
		}
	}()
	for _, f := range []struct {
		magic  string // ? is any byte
		header func(io.Reader) (image.Config, error)
		decode func(io.Reader) (image.Image, error)
	}{
		{"\xff\xd8\xff", jpeg.DecodeConfig, jpeg.Decode},
		{"\x89PNG", png.DecodeConfig, png.Decode},
		{"GIF8", gif.DecodeConfig, gif.Decode},
		{"RIFF????WEBP", webp.DecodeConfig, webp.Decode},
		{"BM", bmp.DecodeConfig, bmp.Decode},
		{"II*\x00", tiff.DecodeConfig, tiff.Decode},
		{"MM\x00*", tiff.DecodeConfig, tiff.Decode},
	} {
		if !begins(data, f.magic) {
			continue
		}
		c, err := f.header(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		if err := limits.CheckSize(c.Width, c.Height); err != nil {
			return nil, err
		}
		return f.decode(bytes.NewReader(data))
	}
	return nil, fmt.Errorf("its format is decoded without colours only")
}

func begins(data []byte, magic string) bool {
	if len(data) < len(magic) {
		return false
	}
	for i := range len(magic) {
		if magic[i] != '?' && magic[i] != data[i] {
			return false
		}
	}
	return true
}

// stranger is copies that somebody else made: DIR/<edit>/<n>.jpg of DIR/original/<n>.jpg.
type stranger struct {
	dir       string
	originals []benchFile
	edits     []string
	copyOf    []map[string]string // by edit: <n> -> file name
	strays    []skippedFile       // what is no copy of any of them
	limit     int64
}

// originals is the folder of what the others are copies of.
const originals = "original"

// newStranger finds the originals and their copies.
func newStranger(ctx context.Context, dir string, only []string, limit int64) (*stranger, error) {
	files, err := filesIn(ctx, filepath.Join(dir, originals))
	if err != nil {
		return nil, usagef("--external: %w", err)
	}
	folders, err := os.ReadDir(dir)
	if err != nil {
		return nil, usagef("--external: %w", err)
	}
	names := map[string]string{} // <n> -> original
	for _, f := range files {
		if other, twice := names[stem(f.name)]; twice {
			return nil, usagef("--external: %s and %s: the copies named %q could be of either",
				path.Join(originals, other), path.Join(originals, f.name), stem(f.name))
		}
		names[stem(f.name)] = f.name
	}
	s := &stranger{dir: dir, originals: files, limit: limit}
	for _, f := range folders {
		if !f.IsDir() || f.Name() == originals || len(only) > 0 && !slices.Contains(only, f.Name()) {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		stray := func(name, why string) { s.strays = append(s.strays, skippedFile{path.Join(f.Name(), name), why}) }
		copyOf := map[string]string{}
		for _, e := range entries {
			n := stem(e.Name())
			switch {
			case !e.Type().IsRegular():
				stray(e.Name(), "not a file")
			case names[n] == "":
				stray(e.Name(), "no original has its name")
			case copyOf[n] != "":
				stray(e.Name(), "a further copy of the original of "+copyOf[n])
			default:
				copyOf[n] = e.Name()
			}
		}
		if len(copyOf) == 0 {
			stray("", "no copies in it")
		}
		s.edits, s.copyOf = append(s.edits, f.Name()), append(s.copyOf, copyOf)
	}
	for _, name := range only {
		if !slices.Contains(s.edits, name) {
			return nil, usagef("--edits: %s has no folder %q", dir, name)
		}
	}
	if !slices.ContainsFunc(s.copyOf, func(c map[string]string) bool { return len(c) > 0 }) {
		return nil, usagef("--external: %s holds no copies of what is in %s", dir, originals)
	}
	return s, nil
}

// stem is a file's name without folder and extension.
func stem(name string) string {
	name = path.Base(name)
	return strings.TrimSuffix(name, path.Ext(name))
}

func (s *stranger) kinds() []kindOfEdit {
	kinds := make([]kindOfEdit, len(s.edits))
	for i, name := range s.edits {
		kinds[i] = kindOfEdit{name, "", setExternal}
	}
	return kinds
}

func (s *stranger) copies(name string, _ []byte) iter.Seq2[copiedPicture, error] {
	return func(yield func(copiedPicture, error) bool) {
		for i, edit := range s.edits {
			file, ok := s.copyOf[i][stem(name)]
			if !ok {
				continue
			}
			source := benchFile{file, func() (io.ReadCloser, error) { return os.Open(filepath.Join(s.dir, edit, file)) }}
			media, err := source.read(s.limit)
			if err != nil {
				err = fmt.Errorf("its copy %s/%s: %w", edit, file, err)
			}
			if !yield(copiedPicture{i, media.Data}, err) || err != nil {
				return
			}
		}
	}
}
