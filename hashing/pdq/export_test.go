package pdq

// Kernels names all that this processor can run, the fastest first.
func Kernels() (names []string) {
	for _, k := range kernels() {
		names = append(names, k.name)
	}
	return names
}

// With returns a Hasher that computes with the kernel of that name.
func With(name string) *Hasher { return &Hasher{kernel: choose(name)} }

// Choose names the kernel that a value of VIGIE_KERNEL gives.
func Choose(value string) string { return choose(value).name }

// Inside returns what the last hash was made of: the filtered samples, in four grids if h is exact,
// and the coefficients of the last of them.
func (h *Hasher) Inside() (grids [][side * side]float32, coeffs [freqs * freqs]float32) {
	for _, g := range h.grids[:h.sets()*h.sets()] {
		grids = append(grids, g)
	}
	return grids, h.coeffs
}

// Quotient returns sums / count as the kernel of that name divides by a reciprocal.
func Quotient(name string, sums [lanes]float32, count float32) (q [lanes]float32) {
	var zeros [lanes]float32
	r := recip(count)
	choose(name).refined(&q[0], &zeros[0], 0, 0, &sums[0], &count, &r, 1)
	return q
}
