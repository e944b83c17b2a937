//go:build !(amd64 || arm64 || loong64 || mips64le || ppc64le || riscv64 || wasm)

package segment

// A segment's numbers are read where they lie, chunks of 16 bits out of words of 64: on a machine that puts the high end
// first, searches would miss rows, and one of 32 bits cannot count its bytes. There is no such name, so that nothing is built.
var _ = needsALittleEndianMachineOf64Bits
