package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"vigie/hashing"
)

// Test hooks: inputs that make a child misbehave, so that tests show what becomes of it. They work
// only in a child whose environment has VIGIE_DECODE_TEST_HOOKS=1, which only [Options.Env] can set.

var hookPrefix = []byte("VIGIE-TEST-")

// withHooks wraps hash. A marked input is "VIGIE-TEST-NAME", or that, a space and an argument.
func withHooks(hash HashFunc, out io.Writer) HashFunc {
	return func(ctx context.Context, data []byte) (hashing.Picture, error) {
		marked, ok := bytes.CutPrefix(data, hookPrefix)
		if !ok {
			return hash(ctx, data)
		}
		name, arg, _ := bytes.Cut(marked, []byte(" "))
		switch string(name) {
		case "HANG":
			//lint:ignore SA5002 hanging is its purpose
			for {
			}
		case "MEMORY":
			eat()
		case "CRASH":
			panic("test hook")
		case "EXIT":
			os.Exit(0)
		case "GARBAGE": // the argument goes out as it is
			_, err := out.Write(arg)
			return hashing.Picture{}, err
		case "PRINT": // as a decoder may
			_, err := fmt.Print(string(arg))
			return attempt("print", err)
		case "FILE":
			_, err := os.Open("/etc/passwd")
			return attempt("open", err)
		case "CREATE":
			_, err := os.Create(string(arg))
			return attempt("create", err)
		case "SOCKET": // the argument is an address
			_, err := net.Dial("tcp4", string(arg))
			return attempt("dial", err)
		case "EXEC":
			return attempt("exec", syscall.Exec("/bin/true", []string{"true"}, nil))
		case "SIGNAL":
			parent, err := os.FindProcess(os.Getppid())
			if err == nil {
				err = parent.Signal(syscall.Signal(0))
			}
			return attempt("signal", err)
		case "ENV":
			return attempt("environment", fmt.Errorf("%d variables", len(os.Environ())))
		}
		return hashing.Picture{}, fmt.Errorf("no such hook")
	}
}

// attempt reports what came of an attempt, as a media error, which is what travels with a text.
func attempt(what string, err error) (hashing.Picture, error) {
	detail := what + " succeeded"
	if err != nil {
		detail = what + ": " + err.Error()
	}
	return hashing.Picture{}, &hashing.MediaError{Kind: hashing.Corrupt, Detail: detail}
}

// eat takes memory, and uses it, until the process ends.
func eat() {
	var eaten [][]byte
	for {
		b := make([]byte, 8<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		//lint:ignore SA4010 keeping it is its purpose
		eaten = append(eaten, b)
	}
}
