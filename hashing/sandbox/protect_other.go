//go:build !linux

package sandbox

// giveUpRights has nothing portable to give up: a separate process, its deadline and Go's soft
// memory limit are what remains.
func giveUpRights(ChildOptions) (Protections, error) { return Protections{}, nil }
