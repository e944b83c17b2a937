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
	"time"

	"vigie/internal/buildinfo"
)

type serveCmd struct{}

// Run serves until it is told to stop (SIGINT, SIGTERM), then drains: /readyz says no, requests
// under way are answered, new connections are refused.
func (serveCmd) Run(ctx context.Context, a *app) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.LogLevel)); err != nil {
		return usagef("--log-level: %w", err)
	}
	if a.set["server"] {
		return usagef("serve runs a node here; --server names one elsewhere, for other commands")
	}
	var pair *certificate
	if a.TlsCert != "" {
		var err error
		if pair, err = openCertificate(a.TlsCert, a.TlsKey); err != nil {
			return err
		}
	}
	log := slog.New(slog.NewJSONHandler(a.err, &slog.HandlerOptions{Level: level}))
	n, err := openNode(ctx, &a.Config, true, log)
	if err != nil {
		return err
	}
	defer n.Close()
	if os.Getenv(sandboxTestHooks) != "" {
		log.Warn("the test hooks of the decode children are on: for tests only", "variable", sandboxTestHooks)
	}
	if os.Geteuid() == 0 {
		log.Warn("runs as root; an ordinary user is enough")
	}
	listener, err := net.Listen("tcp", a.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := n.server()
	failed := make(chan error, 2)
	if a.ListenPrivate != "" {
		private, err := net.Listen("tcp", a.ListenPrivate)
		if err != nil {
			return fmt.Errorf("listen for the operator: %w", err)
		}
		if !loopback(private.Addr()) {
			log.Warn("metrics and profiles can be reached from other machines: see to it that only the operator does", "address", private.Addr().String())
		}
		operator := n.private()
		defer operator.Close()
		go func() {
			if err := operator.Serve(private); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve the operator: %w", err)
			}
		}()
	}
	serve, url := server.Serve, "http://"+listener.Addr().String()
	if pair != nil {
		watching, stop := context.WithCancel(ctx)
		defer stop()
		n.running.Go(func() { pair.watch(watching, 5*time.Second, log) })
		server.TLSConfig = pair.config()
		serve, url = func(l net.Listener) error { return server.ServeTLS(l, "", "") }, "https://"+listener.Addr().String()
	}
	go func() { failed <- serve(listener) }()
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
	log.Info("stopped")
	return n.Close()
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
