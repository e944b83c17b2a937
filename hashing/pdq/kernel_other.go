//go:build !amd64

package pdq

// kernels lists what this processor can run.
func kernels() []*kernel { return []*kernel{&portable} }
