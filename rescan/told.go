package rescan

import (
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"syscall"

	"vigie/storage"
)

// told is what the party of a re-scan reads of an error. What there is of files, names and machines around the node is its operator's to
// know.
func told(err error) string {
	var path *fs.PathError
	var link *os.LinkError
	var call syscall.Errno
	var network net.Error
	var address *url.Error
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "it is not there, or not any more"
	case errors.Is(err, fs.ErrPermission):
		return "the node may not read it"
	case errors.As(err, &path), errors.As(err, &link), errors.As(err, &call), errors.As(err, &network), errors.As(err, &address),
		errors.Is(err, storage.ErrUnavailable):
		return "it cannot be read; the operator of the node can find out why"
	}
	return err.Error()
}
