package hashing

// Transform is one of the eight symmetries of a rectangle: what was done to the upload before it
// was compared. A match under Rotate90 means that the upload, turned a quarter, is the known picture.
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
)

// Transforms is the number of transforms; they are 0 <= t < Transforms.
const Transforms = 8

var transformNames = [Transforms]string{
	"none", "rotate90", "rotate180", "rotate270", "flip", "mirror", "transpose", "transverse",
}

// String is the name used in verdicts: "none", "mirror", "rotate90", ...
func (t Transform) String() string {
	if int(t) < len(transformNames) {
		return transformNames[t]
	}
	return "invalid"
}
