package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"vigie/internal/buildinfo"
)

type serveCmd struct{}

// Run serves until it is told to stop (SIGINT, SIGTERM), then drains: /readyz says no, requests
// under way are answered, new connections are refused.
func (serveCmd) Run(ctx context.Context, a *app) error {
	log, err := a.log()
	if err != nil {
		return err
	}
	var pair *certificate
	if a.TlsCert != "" {
		var err error
		if pair, err = openCertificate(a.TlsCert, a.TlsKey); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", a.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	// What asks while the node waits for its database is told so.
	shown, operators := newFront(), newFront()
	server, failed := newServer(shown), make(chan error, 2)
	defer server.Close()
	serve, url := server.Serve, "http://"+listener.Addr().String()
	if pair != nil {
		watching, stop := context.WithCancel(ctx)
		var watcher sync.WaitGroup
		defer watcher.Wait()
		defer stop()
		watcher.Go(func() { pair.watch(watching, 5*time.Second, log) })
		server.TLSConfig = pair.config()
		serve, url = func(l net.Listener) error { return server.ServeTLS(l, "", "") }, "https://"+listener.Addr().String()
	}
	go func() { failed <- serve(listener) }()
	closeOperator, err := a.serveOperator(operators, failed, log)
	if err != nil {
		return err
	}
	defer closeOperator()
	n, err := openNode(ctx, &a.Config, shown, log)
	if err != nil {
		return err
	}
	defer n.Close()
	operators.become(n.private())
	log.Info("serving", "url", url, "version", buildinfo.Version())
	go func() {
		if n.matcher.Follower().Await(ctx, 0) == nil {
			state := n.matcher.Follower().State()
			if a.json {
				_ = a.object(readyLine{URL: url, Entries: state.Snapshot.Stats().Entries, Seq: state.Seq})
			}
			a.say("Vigie is ready at %s (%d entries, change %d). The API is explained at %s/docs.", url, state.Snapshot.Stats().Entries, state.Seq, url)
			if len(state.Keys) == 0 {
				a.say("There are no keys yet: vigie keys create --data %s --role admin NAME", a.Data)
			}
		}
	}()

	select {
	case err := <-failed:
		return err
	case err := <-n.failed:
		n.hurry()
		short, cancel := context.WithTimeout(ctx, hurried)
		defer cancel()
		_ = server.Shutdown(short)
		return err
	case <-ctx.Done():
	}
	log.Info("draining")
	n.api.Drain()
	time.Sleep(a.DrainDelay)
	// The longest request is a video; a second signal ends the node at once.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second+a.VideoTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		log.Error("drain", "error", err)
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	if err := n.Close(); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// log is what a node writes of what it does, as JSON, to standard error.
func (a *app) log() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.LogLevel)); err != nil {
		return nil, usagef("--log-level: %w", err)
	}
	if a.set["server"] {
		return nil, usagef("this runs a node here; --server names one elsewhere, for other commands")
	}
	return slog.New(slog.NewJSONHandler(a.err, &slog.HandlerOptions{Level: level})), nil
}

// warn tells of how the node was started.
func warn(log *slog.Logger) {
	if os.Getenv(sandboxTestHooks) != "" {
		log.Warn("the test hooks of the decode children are on: for tests only", "variable", sandboxTestHooks)
	}
	if os.Geteuid() == 0 {
		log.Warn("runs as root; an ordinary user is enough")
	}
}

// serveOperator serves the operator alone, if there is an address for that.
func (a *app) serveOperator(shown *front, failed chan<- error, log *slog.Logger) (end func(), err error) {
	if a.ListenPrivate == "" {
		return func() {}, nil
	}
	private, err := net.Listen("tcp", a.ListenPrivate)
	if err != nil {
		return nil, fmt.Errorf("listen for the operator: %w", err)
	}
	if !loopback(private.Addr()) {
		log.Warn("metrics and profiles can be reached from other machines: see to it that only the operator does", "address", private.Addr().String())
	}
	operator := privateServer(shown)
	go func() {
		if err := operator.Serve(private); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve the operator: %w", err)
		}
	}()
	return func() { _ = operator.Close() }, nil
}

// readyLine is what serve --json prints when the node is ready.
type readyLine struct {
	URL     string `json:"url"`
	Entries int    `json:"entries"`
	Seq     uint64 `json:"seq"`
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(a *app) error {
	if a.json {
		return a.object(map[string]string{"version": buildinfo.Version()})
	}
	a.say("vigie %s", strings.TrimSpace(buildinfo.Version()))
	return nil
}
