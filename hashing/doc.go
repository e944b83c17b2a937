// Package hashing holds Vigie's words for fingerprints: [Signal] (one fingerprint of a media),
// [Media] (bytes with their digests), [Picture] (what hashing a picture yields), [Limits] and
// [MediaError]. It is small and imports only the standard library, so that the index, the storage
// and other programs can use the words without the decoders.
//
// The work is done in its rooms, each usable alone:
//
//   - vigie/hashing/pdq: PDQ from a luma buffer, bit-exact to the reference;
//   - vigie/hashing/decode: bytes to pixels, each format by name, limits first;
//   - vigie/hashing/fingerprint: pixels to signals, with variants and transforms;
//   - vigie/hashing/sandbox: the same in child processes without rights, for hostile media.
//
// # Signals
//
// A signal is a small comparable value with a text form:
//
//	s, err := hashing.Parse("pdq:f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22")
//	d, err := s.Distance(other) // Hamming distance; 31 or less is PDQ's recommended match
package hashing
