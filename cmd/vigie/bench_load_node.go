package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	v1 "vigie/api/v1"
)

// find finds the node: that of --server, or one of its own, with keys and entries.
func (b *loadBench) find(ctx context.Context) error {
	b.stop = func() {}
	if b.Server != "" {
		key, err := b.key()
		b.url, b.keys = strings.TrimSuffix(b.Server, "/"), []string{key}
		return err
	}
	dir, err := os.MkdirTemp("", "vigie-bench-")
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "node")
	end, err := b.start(ctx, data)
	b.stop = func() {
		end()
		_ = os.RemoveAll(dir)
	}
	if err == nil {
		err = b.furnish(ctx, data)
	}
	if err != nil {
		b.stop()
		return fmt.Errorf("bench: start a node: %w", err)
	}
	return nil
}

// start runs a node with the settings of this command.
func (b *loadBench) start(ctx context.Context, data string) (end func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return func() {}, err
	}
	cmd := exec.CommandContext(ctx, self, "serve", "--json", "--data", data, "--listen", "127.0.0.1:0", "--log-level", "error")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	cmd.Stderr = b.printer.err
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return func() {}, err
	}
	processors, all, err := apart(cmd.Start)
	if err != nil {
		all()
		return func() {}, err
	}
	b.processors = processors
	end = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		all()
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		return end, fmt.Errorf("it ended before it was ready: %w", err)
	}
	var ready readyLine
	if err := json.Unmarshal(line, &ready); err != nil {
		return end, err
	}
	b.url, b.pid = ready.URL, cmd.Process.Pid
	return end, nil
}

// furnish makes keys and entries, through the socket in the data folder.
func (b *loadBench) furnish(ctx context.Context, data string) error {
	local := *b.app
	local.Data = data
	socket, err := local.connect(ctx)
	if err != nil {
		return err
	}
	defer socket.Close()
	for i := range b.Keys {
		made, err := ask[v1.CreatedKey](socket.CreateKey(ctx, v1.NewKey{Name: fmt.Sprint("bench ", i), Role: v1.Platform}))
		if err != nil {
			return err
		}
		b.keys = append(b.keys, made.Secret)
	}
	if _, err := ask[v1.Bank](socket.CreateBank(ctx, v1.NewBank{Name: "bench"})); err != nil {
		return err
	}
	draw := rand.New(rand.NewPCG(b.Seed, 2))
	g, flagging := errgroup.WithContext(ctx)
	g.SetLimit(32) // whose transactions are committed together
	for i := range b.Entries {
		signal := randomSignal(draw)
		if i%2 == 0 && len(b.known) < 500 {
			b.known = append(b.known, signal)
		}
		g.Go(func() error {
			_, err := ask[v1.Flagged](socket.Flag(flagging, "bench", v1.FlagSignals{Signals: v1.Signals{signal}}))
			return err
		})
	}
	return g.Wait()
}

// residentOf is the memory of a process and its children, in bytes; 0 where the system does not say.
func residentOf(pid int) int64 {
	sum := int64(0)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		_, rest, ok := strings.Cut(string(text), ") ") // the name before may hold anything
		if err != nil || !ok {
			continue
		}
		var state string
		var parent, process int
		_, _ = fmt.Sscan(rest, &state, &parent)
		_, _ = fmt.Sscan(string(text), &process)
		if parent != pid && process != pid {
			continue
		}
		text, err = os.ReadFile(filepath.Join(filepath.Dir(path), "statm"))
		var size, pages int64
		if _, bad := fmt.Sscan(string(text), &size, &pages); errors.Join(err, bad) == nil {
			sum += pages * int64(os.Getpagesize())
		}
	}
	return sum
}
