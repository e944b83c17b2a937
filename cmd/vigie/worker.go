package main

import (
	"context"
	"os"

	"vigie/internal/buildinfo"
)

type workerCmd struct{}

// Run does jobs until it is told to stop. It is a node of its own, with a data folder of its own, that listens on its socket and for the
// operator alone.
func (workerCmd) Run(ctx context.Context, a *app) error {
	log, err := a.log()
	if err != nil {
		return err
	}
	if !a.Work {
		return usagef("--no-work: a worker that does not work is of no use")
	}
	if err := stepBack(); err != nil {
		log.Warn("the worker runs at the priority of everything else on the machine", "error", err)
	}
	if a.NodeName == "" {
		host, _ := os.Hostname()
		a.NodeName = "worker " + host
	}
	operators, failed := newFront(), make(chan error, 1)
	end, err := a.serveOperator(operators, failed, log)
	if err != nil {
		return err
	}
	defer end()
	n, err := openNode(ctx, &a.Config, newFront(), log)
	if err != nil {
		return err
	}
	defer n.Close()
	operators.become(n.private())
	log.Info("working", "version", buildinfo.Version())
	go func() {
		if n.matcher.Follower().Await(ctx, 0) == nil {
			if a.json {
				state := n.matcher.Follower().State()
				_ = a.object(readyLine{Entries: state.Snapshot.Stats().Entries, Seq: state.Seq})
			}
			a.say("The worker is ready.")
		}
	}()
	select {
	case err := <-failed:
		return err
	case err := <-n.failed:
		n.hurry()
		return err
	case <-ctx.Done():
	}
	log.Info("stopping")
	return n.Close()
}
