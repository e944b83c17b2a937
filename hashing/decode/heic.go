package decode

import (
	"errors"

	"vigie/hashing"
)

// SizeOfHEIC is the largest size that a HEIC claims of any of its images, within the limits. Errors are as
// [Decode]'s: no decoder is run. An external program decodes the format.
func SizeOfHEIC(data []byte, limits hashing.Limits) (width, height int, err error) {
	r := isoReader{}
	r.read(data, 0)
	if r.size.X == 0 || r.size.Y == 0 {
		return 0, 0, corrupt("heic", errors.New("no size is claimed"))
	}
	return r.size.X, r.size.Y, limits.CheckSize(r.size.X, r.size.Y)
}
