package kernel

// Kernels names all that this processor can run, the fastest first.
func Kernels() (names []string) {
	for _, k := range kernels() {
		names = append(names, k.name)
	}
	return names
}

// Choose names the kernel that a value of VIGIE_KERNEL gives.
func Choose(value string) string { return choose(value).name }

// Use makes the kernel of that name the one in use.
func Use(name string) { chosen = choose(name) }
