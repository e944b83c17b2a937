package exchange

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
)

// Checkpoint says how far an import of a file has come, and of which file. It is kept as JSON.
type Checkpoint struct {
	Format   Format   `json:"format"`
	Position Position `json:"position"` // behind the last row that is done
	Size     int64    `json:"size"`     // of the file
	Head     string   `json:"head"`     // SHA-256 of its first 64 KiB
}

// headBytes is how much of a file tells it from another one of the same size.
const headBytes = 64 << 10

// NewCheckpoint is the checkpoint at the beginning of a file of that size. The errors are those of the file.
func NewCheckpoint(file io.ReaderAt, size int64, f Format) (Checkpoint, error) {
	head := sha256.New()
	if _, err := io.Copy(head, io.NewSectionReader(file, 0, min(size, headBytes))); err != nil {
		return Checkpoint{}, err
	}
	return Checkpoint{Format: f, Size: size, Head: hex.EncodeToString(head.Sum(nil))}, nil
}

// Resume returns the position from which to go on with the file that begun is the beginning of: that of
// the checkpoint, if it is of the same file, as far as size, format and the first 64 KiB tell. Otherwise
// the error is a [*ListError].
func (c Checkpoint) Resume(begun Checkpoint) (Position, error) {
	switch {
	case c.Format != begun.Format:
		return Position{}, &ListError{OtherList, "the import that stopped read another format"}
	case c.Size != begun.Size || c.Head != begun.Head:
		return Position{}, &ListError{OtherList, "the file is not the one whose import stopped: begin anew"}
	}
	return c.Position, nil
}
