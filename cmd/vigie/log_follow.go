package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	v1 "vigie/api/v1"
)

type logFollowCmd struct {
	After int64   `help:"Only changes after this one." default:"0"`
	Bank  *string `help:"Only changes of this bank." placeholder:"NAME"`
}

const (
	feedPause   = 2 * time.Second // before a feed that broke off is asked for again
	feedSilence = time.Minute     // nodes give a sign of life every 15 s
	feedEvent   = 64 << 20        // bytes of the longest line: an entry with all frames of a video fits
)

// Run prints changes as they come. If the feed breaks off it goes on where it was; only a refusal ends it.
func (c *logFollowCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	node.settle()
	called, err := namesAt(ctx, node)
	if err != nil {
		return err
	}
	f := feed{node: node, params: v1.ListChangesParams{After: &c.After, Bank: c.Bank}}
	for told := false; ; {
		for change, err := range f.changes(ctx) {
			switch {
			case ctx.Err() != nil:
				return nil // interrupted: this is how it is meant to end
			case err == nil:
				told = false
				if err := c.show(ctx, a, node, &called, change); err != nil {
					return err
				}
			case !broken(err):
				return err
			case !told:
				a.warn("%v; trying again", err)
				told = true
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(feedPause):
		}
	}
}

// broken reports whether a feed that ended so may be resumed: the node is gone, or not ready, or cut off a slow reader.
func broken(err error) bool {
	var problem *problemError
	if errors.As(err, &problem) {
		return problem.Status >= http.StatusInternalServerError || problem.Status == http.StatusTooManyRequests
	}
	var nobody unreachableError
	return errors.As(err, &nobody)
}

// show prints a change on a line of its own: columns cannot be aligned with what is not there yet.
func (c *logFollowCmd) show(ctx context.Context, a *app, node *client, called *names, change v1.Change) error {
	if a.json {
		return a.object(change)
	}
	if strings.HasPrefix(change.Kind, "bank.") || strings.HasPrefix(change.Kind, "party.") {
		if fresh, err := namesAt(ctx, node); err == nil { // else numbers must do
			*called = fresh
		}
	}
	line := fmt.Sprintf("%-7d %s  %-18s %-14s %s", change.Seq, change.At.Local().Format(stamp), change.Kind, change.Actor, subject(change, *called))
	if w := why(change); w != "" {
		line += ": " + w
	}
	_, err := fmt.Fprintln(a.out, printable(strings.TrimRight(line, " ")))
	return err
}

// feed reads a node's changes as Server-Sent Events (WHATWG HTML, 9.2), and knows how far it is.
type feed struct {
	node   *client
	params v1.ListChangesParams
	last   string // id of the last event
}

// changes reads until the feed breaks off, and ends with the error that says why.
func (f *feed) changes(ctx context.Context) iter.Seq2[v1.Change, error] {
	return func(yield func(v1.Change, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		silence := time.AfterFunc(feedSilence, cancel)
		defer silence.Stop()
		silent := func(err error) error { // ctx ends by silence, or with the command, which does not look at the error
			if ctx.Err() != nil {
				return unreachableError{errors.New("the node says nothing any more")}
			}
			return err
		}
		events, err := f.open(ctx)
		if err != nil {
			yield(v1.Change{}, silent(err))
			return
		}
		defer events.Close()
		lines := bufio.NewScanner(events)
		lines.Buffer(nil, feedEvent)
		var name, id string
		var data []byte
		for lines.Scan() {
			silence.Reset(feedSilence)
			field, text, _ := strings.Cut(lines.Text(), ":")
			text = strings.TrimPrefix(text, " ")
			switch {
			case field == "id":
				id = text
			case field == "event":
				name = text
			case field == "data":
				data = append(data, text...) // the node writes one line of data an event
			case lines.Text() == "": // the event is whole
				if data != nil {
					change, err := read(name, data)
					if !yield(change, err) || err != nil {
						return
					}
				}
				if id != "" {
					f.last = id
				}
				name, id, data = "", "", nil
			}
		}
		yield(v1.Change{}, silent(unreachableError{fmt.Errorf("the feed breaks off: %w", cmp.Or(lines.Err(), io.ErrUnexpectedEOF))}))
	}
}

// open asks for the events after the last one.
func (f *feed) open(ctx context.Context) (io.ReadCloser, error) {
	stream := "text/event-stream"
	p := f.params
	p.Accept = &stream
	if f.last != "" {
		p.LastEventID = &f.last
	}
	response, err := f.node.ListChanges(ctx, &p)
	if err != nil || response.StatusCode != http.StatusOK {
		_, err = ask[v1.Changes](response, err)
		return nil, err
	}
	return response.Body, nil
}

// read makes a change of an event, or an error of the problem that ends a feed.
func read(name string, data []byte) (change v1.Change, err error) {
	var p v1.Problem
	if name == "problem" {
		err = json.Unmarshal(data, &p)
	} else {
		err = json.Unmarshal(data, &change)
	}
	switch {
	case err != nil:
		return change, fmt.Errorf("the feed is not as the contract says: %w", err)
	case name == "problem":
		return change, &problemError{Problem: p}
	}
	return change, nil
}
