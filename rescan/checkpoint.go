package rescan

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Checkpoint is how far a scan has come: the last item that was emitted, with the counts up to it.
// What was emitted after the last save comes again when the scan is resumed after a crash.
type Checkpoint struct {
	Cursor  string // the item's name, or its place; "" before the first
	Summary Summary

	path  string // "": not saved
	saved time.Time
}

// saveEvery bounds how much is done again after a crash.
const saveEvery = time.Second

// checkpointFile is the file of a checkpoint. The cursor is bytes, because names of files need not be
// text: JSON would replace what is not.
type checkpointFile struct {
	Cursor  []byte        `json:"cursor"`
	Summary Summary       `json:"summary"`
	Took    time.Duration `json:"took"` // nanoseconds
}

// OpenCheckpoint reads the checkpoint in a file, or begins one that will be saved there.
func OpenCheckpoint(path string) (*Checkpoint, error) {
	c := &Checkpoint{path: path, saved: time.Now()}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	var f checkpointFile
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint: %w", err)
	}
	c.Cursor, c.Summary = string(f.Cursor), f.Summary
	c.Summary.Took = f.Took
	return c, nil
}

// Begun reports whether a scan stopped here before its end.
func (c *Checkpoint) Begun() bool { return c.Cursor != "" }

func (c *Checkpoint) due() bool { return c.path != "" && time.Since(c.saved) >= saveEvery }

// save replaces the file, or removes it when the scan is finished.
func (c *Checkpoint) save(finished bool) error {
	if c.path == "" {
		return nil
	}
	if finished {
		if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the checkpoint: %w", err)
		}
		return nil
	}
	text, err := json.Marshal(checkpointFile{[]byte(c.Cursor), c.Summary, c.Summary.Took})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(c.path), 0o700)
	}
	if err == nil {
		err = ReplaceFile(c.path, text)
	}
	if err != nil {
		return fmt.Errorf("save the checkpoint: %w", err)
	}
	c.saved = time.Now()
	return nil
}

// ReplaceFile writes a file so that a crash leaves the old or the new one.
func ReplaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".checkpoint-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
