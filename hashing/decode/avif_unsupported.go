//go:build !nodynamic

package decode

import "image"

// Without the tag the library would load whatever libavif the system has, into this process.
func decodeAVIF([]byte, image.Config) (pixels, error) {
	return pixels{}, unsupported("this build cannot decode AVIF; build with -tags nodynamic")
}
