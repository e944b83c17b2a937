package decode

import (
	"bytes"
	"image"
	"image/color"

	"vigie/hashing"
)

// Cost estimates from the header how much memory [Decode], [Image.Reduced] and [Image.Further] take at
// their peak beside the file itself, in bytes: an upper bound for honest files, not for all. Data of no
// format that Decode knows, and what is over the limits, is the same error as Decode's. It decodes
// nothing, allocates little and may be called from many goroutines.
func Cost(data []byte, limits hashing.Limits) (bytes int64, err error) {
	f, err := find(data, limits)
	if err != nil {
		return 0, err
	}
	defer func() {
		if recover() != nil {
			bytes, err = 0, corrupt(f.name, errPanicked)
		}
	}()
	config, err := f.size(data, limits)
	if err != nil {
		return 0, err
	}
	const small = 1 << 20 // tables and buffers
	return small + int64(len(data)) + f.cost(data, config) + costOfLuma(config), nil
}

// costOfLuma is a Luma of floats and the two buffers as large that hashing takes.
func costOfLuma(config image.Config) int64 {
	factor := int64(reduction(config.Width, config.Height))
	return 12 * area(config) / (factor * factor)
}

func area(config image.Config) int64 { return int64(config.Width) * int64(config.Height) }

// perPixel is a cost of so many bytes for each pixel.
func perPixel(bytes int64) func([]byte, image.Config) int64 {
	return func(_ []byte, config image.Config) int64 { return bytes * area(config) }
}

// costOfJPEG counts planes of bytes, coefficients of progressive files, and a conversion to RGB.
func costOfJPEG(data []byte, config image.Config) int64 {
	const progressive = 0xc2
	f := readJPEG(data)
	each := f.share()
	switch {
	case !f.plain():
		each += 4 * (each + 1)
	case f.frame == progressive:
		each *= 5
	}
	return int64(each * float64(area(config)))
}

// costOfPNG counts the picture, twice if it is interlaced, and of an animation the canvas and a frame.
func costOfPNG(data []byte, config image.Config) int64 {
	const interlace = 28
	each := int64(4)
	head, _, _ := bytes.Cut(data, []byte("IDAT"))
	transparent := bytes.Contains(head, []byte("tRNS")) // gray becomes colour with alpha
	switch config.ColorModel {
	case color.GrayModel:
		each = 1
		if transparent {
			each = 4
		}
	case color.Gray16Model:
		each = 2
		if transparent {
			each = 8
		}
	case color.RGBA64Model, color.NRGBA64Model:
		each = 8
	default:
		if _, ok := config.ColorModel.(color.Palette); ok {
			each = 1
		}
	}
	if len(data) > interlace && data[interlace] != 0 {
		each *= 2
	}
	if a := framesOfPNG(data); a != nil {
		each = 2*each + 4
	}
	return each * area(config)
}

// costOfWebP counts planes and their copy, or the two buffers and the picture of a lossless one.
func costOfWebP(data []byte, config image.Config) int64 {
	f, err := readWebP(data, 1)
	if err != nil {
		return 0
	}
	each := int64(3)
	if f.frames[0].lossless {
		each = 12
	} else if f.frames[0].alpha != nil {
		each = 3 + 13
	}
	if f.animated {
		each = 2*max(each, 12) + 4
	}
	return each * area(config)
}

// costOfAVIF counts the compiled decoder, and 1.3 GB for the largest picture, as was measured.
func costOfAVIF(_ []byte, config image.Config) int64 {
	const compiled = 100 << 20
	return compiled + 75*area(config)
}
