// Package pdq computes PDQ, the 256-bit perceptual hash of a picture that ThreatExchange publishes
// (github.com/facebook/ThreatExchange, folder pdq; hashing.pdf there explains it). Copies of a picture
// that were recompressed, resized or recoloured differ in few of the bits; unrelated pictures differ
// in about 128. The recommended radius is 31 bits, at a quality of 50 or more.
//
//	var h pdq.Hasher
//	hash, quality := h.Hash(luma, width, height) // luma: float32, 0..255, row after row
//	if quality >= 50 && hash.Distance(known) <= 31 { ... }
//
// Luma in bytes, as decoders of JPEG and of video have it, goes to [Hasher.HashBytes], which takes less
// time. [Hasher.Dihedral] gives the hashes of all orientations of the picture.
//
// # What is computed
//
//  1. The luma is blurred by two rounds of a box filter and sampled at 64 x 64 points, whatever its
//     size and shape.
//  2. The sum of the steps between neighbours in these 64 x 64 samples is the quality.
//  3. A two-dimensional cosine transform keeps the 16 x 16 lowest frequencies without the constant.
//  4. A bit is one where its coefficient is greater than the median of the 256.
//
// # Exactness
//
// From the same luma buffer, hash and quality equal those of the C++ reference
// (pdq/cpp/hashing/pdqhashing.cpp, pdqHash256FromFloatLuma) bit for bit, on every processor: sums run
// in the reference's order in float32, and every product is converted explicitly, which by the Go
// specification forbids fusing it with an addition. What decoding and resizing do before that is the
// caller's choice, and where implementations differ.
//
// # Kernels
//
// The same arithmetic is done by plain Go, which runs everywhere and is the text to read (pdq.go), and by
// AVX2 and AVX-512 on amd64, which is some 4 to 8 times faster (kernel_amd64.s). The fastest that the
// processor can run is chosen at start; the environment variable VIGIE_KERNEL names another: portable,
// avx2 or avx512. [Kernel] tells which it is. Running sums are never reordered nor split: the kernels
// keep those of 64 rows or of 64 columns side by side. Where they multiply by a reciprocal instead of
// dividing, the quotient is corrected, and proved the same.
//
// The package decodes nothing, and reads nothing but that variable. It can be used alone.
package pdq
