//go:build !amd64

package kernel

// kernels lists what this processor can run.
func kernels() []*kernel { return []*kernel{&portable} }
