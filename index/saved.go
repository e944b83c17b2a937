package index

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
)

// Saved is what [Index.Save] left in a folder, to be copied elsewhere: an index is the files that its manifest names, and the
// manifest, which is copied last.
type Saved struct {
	Seq   uint64
	Mark  Mark
	Files []string // names within the folder, the manifest's at the end
}

// ManifestName is the name of the file that says which others belong to a saved index.
const ManifestName = manifestName

// ReadSaved reads what the manifest in a folder says, and verifies no more than that. [os.ErrNotExist], [ErrDamaged].
func ReadSaved(dir string) (Saved, error) {
	m, err := readManifest(dir)
	if err != nil {
		return Saved{}, err
	}
	return m.saved(), nil
}

func (m manifest) saved() Saved {
	s := Saved{Seq: m.Seq, Mark: m.Mark}
	for _, p := range m.Parts {
		s.Files = append(s.Files, p.File)
	}
	s.Files = append(s.Files, manifestName)
	return s
}

// OpenSaved is [ReadSaved] with the files open, in the same order: they stay what they are when the index is saved anew meanwhile.
// The caller closes them.
func OpenSaved(dir string) (Saved, []*os.File, error) {
	m, err := readManifest(dir)
	for err == nil {
		var files []*os.File
		files, err = openAll(dir, m.saved().Files)
		// While the manifest is the same one, so are the files that it names.
		now, nowErr := readManifest(dir)
		same := reflect.DeepEqual(now, m)
		if err == nil && nowErr == nil && same {
			return m.saved(), files, nil
		}
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
		if nowErr == nil && !same {
			m, err = now, nil
		} else {
			err = errors.Join(err, nowErr)
		}
	}
	return Saved{}, nil, err
}

func openAll(dir string, names []string) (files []*os.File, err error) {
	for _, name := range names {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w: %s names %s, which is not there", ErrDamaged, manifestName, name)
		}
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}
