package sandbox

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"vigie/hashing"
)

// Options configure a [Pool]. The zero value is usable; zero fields get the defaults named below.
type Options struct {
	// Limits of what is sent to a child, and of what a child may claim to have seen.
	// Default: [hashing.DefaultLimits].
	Limits hashing.Limits
	// Children is how many pictures are hashed at a time, each in its process. Default: GOMAXPROCS.
	Children int
	// Memory is what one child may use, in bytes; at least [MinMemory]. The Go runtime and the
	// program itself take some 50 MiB of it. Default: 1.5 GiB.
	Memory int64
	// Budget is what pictures that need much memory may take at a time, of all children together, in bytes. A
	// child that sees such a picture's header waits for its share before it decodes; one that needs all waits until it is
	// alone. Pictures that need less than 64 MiB pass uncounted, and the others leave one child to them, if there
	// are two. Default: half of what the children may
	// use, and at least Memory.
	Budget int64
	// Wasm is how many pictures are decoded at a time by decoders in WebAssembly (AVIF), in children of
	// their own that are started when one comes and end after a minute without work. Default: 1.
	Wasm int
	// WasmMemory is Memory for these children. Default: 2 GiB.
	WasmMemory int64
	// Converter is the program that converts HEIC, a name or a path. Without it HEIC is refused as
	// [hashing.NoDecoder]. Default: heif-convert.
	Converter string
	// Timeout is the time for one picture, from the hand-over, or the grant of its memory, to the answer.
	// Default: 10 s.
	Timeout time.Duration
	// Wait is how long a picture waits for a free child, for its turn if it is large, and for its memory, before it is refused with
	// [hashing.ErrBusy]. Default: 20 s. It bounds what hostile files that hang can cost those behind them.
	Wait time.Duration
	// Recycle is the number of pictures after which a child is replaced. Default: 1000.
	Recycle int
	// Command starts a child: a program and its arguments. The program must call [Child].
	// Default: this program with the argument "decode-child".
	Command []string
	// Env is added to the otherwise empty environment of a child, as "NAME=value". It is meant for
	// tests.
	Env []string
	// Events are told what happens to the children.
	Events Events

	wasmIdle time.Duration // for tests; default: a minute
}

// MinMemory is the least memory limit of a child, in bytes: below it the runtime has no room to work.
const MinMemory = 128 << 20

// Events is a set of optional functions that a [Pool] calls synchronously, from any goroutine and
// several at a time. They must be quick and must not call the pool, apart from [Pool.Stats].
type Events struct {
	ChildStarted func(ChildStart)
	ChildDied    func(ChildDeath)
}

// ChildStart tells of a child that is ready for its first picture.
type ChildStart struct {
	PID         int
	Protections Protections
	Took        time.Duration // from the start of the process to its hello
}

// ChildDeath tells of a child that is gone and reaped.
type ChildDeath struct {
	PID      int
	Reason   DeathReason
	Pictures int // handed to it in its life, the last one included
}

// DeathReason says why a child ended.
type DeathReason string

// The reasons. The last four are the pool's own doing and no fault of a picture.
const (
	DiedTimeout   DeathReason = "timeout"   // killed at the deadline of a picture
	DiedMemory    DeathReason = "memory"    // ended at its memory limit
	DiedCrash     DeathReason = "crash"     // ended while it worked on a picture
	DiedGarbage   DeathReason = "garbage"   // killed for an answer that does not hold
	DiedIdle      DeathReason = "idle"      // ended, or was killed from outside, between pictures
	DiedCancelled DeathReason = "cancelled" // killed because its request was cancelled
	DiedRecycled  DeathReason = "recycled"  // replaced after [Options.Recycle] pictures
	DiedClosed    DeathReason = "closed"    // killed by [Pool.Close]
	DiedUnused    DeathReason = "unused"    // one for WebAssembly, after a minute without work
)

// withDefaults returns a copy of o that shares nothing and has no zero field left.
func (o Options) withDefaults() (Options, error) {
	if o.Limits == (hashing.Limits{}) {
		o.Limits = hashing.DefaultLimits()
	}
	if o.Children == 0 {
		o.Children = runtime.GOMAXPROCS(0)
	}
	if o.Memory == 0 {
		o.Memory = 3 << 29
	}
	if o.Budget == 0 {
		o.Budget = max(o.Memory, int64(o.Children)*o.Memory/2)
	}
	if o.Wasm == 0 {
		o.Wasm = 1
	}
	if o.WasmMemory == 0 {
		o.WasmMemory = 2 << 30
	}
	if o.wasmIdle == 0 {
		o.wasmIdle = time.Minute
	}
	if o.Converter == "" {
		o.Converter = "heif-convert"
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Wait == 0 {
		o.Wait = 20 * time.Second
	}
	if o.Recycle == 0 {
		o.Recycle = 1000
	}
	o.Env = slices.Clone(o.Env)
	o.Command = slices.Clone(o.Command)
	if len(o.Command) == 0 {
		exe, err := os.Executable()
		if err != nil {
			return o, fmt.Errorf("find this program: %w", err)
		}
		o.Command = []string{exe, "decode-child"}
		return o, nil
	}
	// Children start in the root folder, where a relative path would mean something else.
	path, err := exec.LookPath(o.Command[0])
	if err != nil {
		return o, fmt.Errorf("find the program of the decode children: %w", err)
	}
	o.Command[0], err = filepath.Abs(path)
	return o, err
}

// Validate names every fault of o at once (errors.Join), nil if there is none. Zero fields are no
// fault: they get defaults.
func (o Options) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(o.Children >= 0, "decode children: %d; at least 1 is needed", o.Children)
	check(o.Memory == 0 || o.Memory >= MinMemory, "memory of a decode child: %d bytes; the least is %d", o.Memory, int64(MinMemory))
	check(o.Budget == 0 || o.Budget >= MinMemory, "decode budget: %d bytes; the least is %d", o.Budget, int64(MinMemory))
	check(o.Wasm >= 0, "decode children for WebAssembly: %d; at least 1 is needed", o.Wasm)
	check(o.WasmMemory == 0 || o.WasmMemory >= MinMemory, "memory of a decode child for WebAssembly: %d bytes; the least is %d", o.WasmMemory, int64(MinMemory))
	check(o.Timeout >= 0, "decode timeout: %v; it must be positive", o.Timeout)
	check(o.Wait >= 0, "wait for a decode child: %v; it must be positive", o.Wait)
	check(o.Recycle >= 0, "recycling of decode children after %d pictures; at least 1 is needed", o.Recycle)
	if l := o.Limits; l != (hashing.Limits{}) {
		check(l.Bytes > 0 && l.Side > 0 && l.Pixels > 0, "media limits %+v: each must be positive", l)
		check(l.Bytes <= math.MaxInt32, "media limit of %d bytes; the most is %d", l.Bytes, math.MaxInt32)
	}
	return errors.Join(faults...)
}
