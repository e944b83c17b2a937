package main

import (
	"context"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"vigie/hashing/sandbox"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == decodeChild {
		os.Exit(runDecodeChild())
	}
	if len(os.Args) == 2 && os.Args[1] == sandbox.ProgramCommand {
		_ = sandbox.ProgramChild() // the parent has been told why
		os.Exit(exitFailed)
	}
	log.SetOutput(io.Discard) // a library tells there of files by their paths; what counts comes as an error as well
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	code := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}
