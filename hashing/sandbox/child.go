package sandbox

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"

	"vigie/hashing"
)

// HashFunc decodes and hashes one picture; it is what a child runs. It must not keep data.
// Errors other than [*hashing.MediaError] reach the caller of [Pool.Picture] as
// [hashing.Crashed], without their text.
type HashFunc func(ctx context.Context, data []byte) (hashing.Picture, error)

// CostFunc estimates from the header of a picture what memory its decoding takes, in bytes. It is the part
// of hashing that comes before memory is granted: it must be quick and take little itself. An error
// means that hashing will fail with little memory. vigie/hashing/decode.Cost is one.
type CostFunc func(data []byte, limits hashing.Limits) (bytes int64, err error)

// ChildOptions is what the parent tells a child.
type ChildOptions struct {
	Limits hashing.Limits `json:"limits"`
	Memory int64          `json:"memory"` // bytes; see [Options.Memory]
	// Announce is from how many bytes on a picture's memory is asked for before it is decoded.
	Announce int64 `json:"announce"`
	// Wasm has the child compile the decoders in WebAssembly at its start, which no child can do later.
	Wasm bool `json:"wasm,omitempty"`

	testHooks bool   // obey the marked inputs of hooks.go
	without   string // with testHooks: leave out these protections, to test the others alone
}

// The environment of a child. The options are JSON; the other two are for the tests of this package.
const (
	envOptions = "VIGIE_DECODE_CHILD"
	envHooks   = "VIGIE_DECODE_TEST_HOOKS"
	envWithout = "VIGIE_DECODE_TEST_WITHOUT"
)

// ChildOptionsFrom reads what the parent told this process in its environment. It fails in a process
// that no [Pool] started.
func ChildOptionsFrom(getenv func(string) string) (ChildOptions, error) {
	var o ChildOptions
	text := getenv(envOptions)
	if text == "" {
		return o, errors.New("a decode child is started by vigie itself, not by hand")
	}
	if err := strictJSON([]byte(text), &o); err != nil {
		return o, fmt.Errorf("options of the decode child: %w", err)
	}
	if o.Limits.Bytes <= 0 || o.Memory < MinMemory || o.Announce <= 0 {
		return o, errors.New("options of the decode child: limits or memory are missing")
	}
	if o.testHooks = getenv(envHooks) == "1"; o.testHooks {
		o.without = getenv(envWithout)
	}
	return o, nil
}

func (o ChildOptions) lacks(protection string) bool { return strings.Contains(o.without, protection) }

// Child is the life of a child: it gives up the rights of this whole process, for good, says hello,
// and answers one picture after the other until in ends, which is no error. From its begin os.Stdout
// leads nowhere: out alone speaks to the parent. Pictures that cost much
// wait for the parent's grant before they are hashed. It does not recover
// panics: a decoder that panicked is not asked again, and the parent starts another child.
func Child(in io.Reader, out io.Writer, hash HashFunc, cost CostFunc, o ChildOptions) error {
	// Go's collector works harder before the hard limit ends the process. A quarter is kept for
	// what is mapped but not in use.
	debug.SetMemoryLimit(o.Memory / 4 * 3)
	debug.SetGCPercent(400)            // a picture's buffers are the heap: at 100 every second one starts a collection
	defer runtime.KeepAlive(os.Stdout) // its descriptor may be out's
	if err := silence(); err != nil {
		return errors.Join(err, say(out, hello{Error: err.Error()}))
	}
	if o.Wasm {
		// Machine code is made while it may be; our own picture is no danger. If it fails, so will others.
		_, _ = hash(context.Background(), warmUp)
	}
	if o.testHooks {
		hash = withHooks(hash, out)
	}
	held, err := giveUpRights(o)
	if err != nil {
		err = fmt.Errorf("give up rights: %w", err)
		return errors.Join(err, say(out, hello{Error: err.Error()}))
	}
	if err := say(out, hello{Wire: wireVersion, Protections: held}); err != nil {
		return err
	}
	const keep = 4 << 20 // bytes; the buffer of a larger file goes with it
	var buf []byte
	idle := time.AfterFunc(idleTime, debug.FreeOSMemory)
	for {
		data, err := readFrame(in, o.Limits.Bytes, buf)
		idle.Stop()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a picture: %w", err)
		}
		may, err := ask(in, out, data, cost, o)
		if err != nil {
			return fmt.Errorf("ask for memory: %w", err)
		}
		if may {
			b, err := encodeAnswer(hash(context.Background(), data))
			if err != nil {
				return fmt.Errorf("encode an answer: %w", err)
			}
			if err := writeFrame(out, b); err != nil {
				return fmt.Errorf("write an answer: %w", err)
			}
		}
		if buf = data[:0]; cap(buf) > keep {
			buf = nil
		}
		returnMemory()
		idle.Reset(idleTime)
	}
}

// silence has whatever a decoder prints go nowhere. The decoder in WebAssembly hands os.Stdout, as it is when the
// decoder is set up, to code that a crafted picture may take over, and standard output is where the
// parent reads answers: what was printed would be the answer to the next picture.
func silence() error {
	nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("silence the decoders: %w", err)
	}
	os.Stdout = nowhere
	return nil
}

// warmUp is a tiny AVIF, the format whose decoder is compiled.
//
//go:embed warm.avif
var warmUp []byte

// ask reports whether data may be decoded: at once if it costs little, else when the parent says so.
func ask(in io.Reader, out io.Writer, data []byte, cost CostFunc, o ChildOptions) (bool, error) {
	need, err := cost(data, o.Limits)
	if err != nil || need < o.Announce {
		return true, nil
	}
	if err := writeFrame(out, encodeNeed(need)); err != nil {
		return false, err
	}
	b, err := readFrame(in, 1, nil)
	return bytes.Equal(b, granted), err
}

// idleTime is how long a child without work keeps the memory that it does not use.
const idleTime = 2 * time.Second

func say(out io.Writer, h hello) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return writeFrame(out, b)
}

// returnMemory gives the heap back to the system at once after a large picture, so that busy children
// do not hold what only one picture in many needs. Usual photographs do not reach the threshold: for
// them it would only cost time, and [idleTime] is soon enough.
func returnMemory() {
	const large = 128 << 20
	held := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(held)
	var sum uint64
	for _, s := range held {
		if s.Value.Kind() == metrics.KindUint64 {
			sum += s.Value.Uint64()
		}
	}
	if sum > large {
		debug.FreeOSMemory()
	}
}
