package media

import (
	"fmt"
	"os"
)

// OpenToRead opens a folder beside the process that it belongs to, and changes nothing in it. Only [Folder.Open], [Folder.List] and
// [Folder.Close] are for its caller.
func OpenToRead(dir string) (*Folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open media folder: %w", err)
	}
	return &Folder{root: root}, nil
}
