package hashing

// Transform is one of the eight symmetries of a rectangle, or the inversion of all colours: what was
// done to the upload before it was compared. A match under Rotate90 means that the upload, turned a quarter, is the known picture.
type Transform uint8

// The dihedral group of the square. Angles are counter-clockwise, as in the PDQ reference.
const (
	// Identity: compared as it came.
	Identity Transform = iota
	Rotate90
	Rotate180
	Rotate270
	// Flip turns top to bottom (the reference's flipX).
	Flip
	// Mirror turns left to right (the reference's flipY).
	Mirror
	// Transpose mirrors at the main diagonal (flipPlus1).
	Transpose
	// Transverse mirrors at the other diagonal (flipMinus1).
	Transverse

	// Inverted compares the negative: light for dark.
	Inverted
)

// Orientations is the number of symmetries; they are the transforms 0 <= t < Orientations.
const Orientations = 8

var transformNames = [...]string{
	"none", "rotate90", "rotate180", "rotate270", "flip", "mirror", "transpose", "transverse", "inverted",
}

// Valid reports whether t is one of the transforms.
func (t Transform) Valid() bool { return int(t) < len(transformNames) }

// String is the name used in verdicts: "none", "mirror", "rotate90", ...
func (t Transform) String() string {
	if int(t) < len(transformNames) {
		return transformNames[t]
	}
	return "invalid"
}
