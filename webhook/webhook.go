// Package webhook tells parties of what happens, by requests to where they want to be told: matches of their checks, entries that
// they may read and that begin or cease to match, re-scans that are done, past uploads that match a new entry.
//
//	sender := webhook.NewSender(m, catalogue, guard.New(guard.Options{Allow: rules}), webhook.Options{})
//	engine, err := jobs.Open...(..., map[string]jobs.Handler{webhook.Job: sender.Handler(), ...})
//	service := webhook.New(engine, sender)
//	err = service.Run(ctx) // on every node
//
// # The way of an event
//
// One process of the cluster at a time, the dispatcher ([Service.Run]), reads the change log and the matches from where it was
// left. For each webhook it collects what it is told of into deliveries: up to [MaxEvents] events, or those of a second. A
// delivery is a job that names a stretch of the log or of the matches, and holds nothing of it; when the jobs are durable the
// dispatcher's place is moved on. So what is committed is told at least once, whoever is killed in between, and an import of a
// million entries makes some thousand requests.
//
// The [Sender] does the jobs on any node: it reads the stretch as it is then, by the rights that the party has then, signs it
// and sends it. What fails is tried again, for about a day; then it is dead, and can be replayed.
//
// # What is promised
//
//   - At least once: an event may come again. Its id is the same then.
//   - Not in order: within a delivery events are in the order in which they happened, but deliveries may overtake each other, all
//     the more when one of them has to be tried again. The number seq tells the order of changes.
//   - A receiver that is slow, dead or hostile costs others nothing: at most [perHook] requests to it are open at a time on a node,
//     and when several have failed in a row only one is tried now and then.
package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"vigie/matcher"
	"vigie/storage"
)

// Job is the kind of the jobs that deliver.
const Job = "webhook"

// MaxEvents is how many events a delivery has at most.
const MaxEvents = 500

// Ping is the kind of the event by which a party tests a webhook.
const Ping = "ping"

// Event is something that happened.
type Event struct {
	// ID is the same whenever the event is told.
	ID   string    `json:"id"`
	Kind string    `json:"kind"`
	At   time.Time `json:"at"`
	// Seq is that of the change; 0: it is none.
	Seq  uint64 `json:"seq,omitempty"`
	Data any    `json:"data"`
}

// delivery is the body of a request.
type delivery struct {
	Delivery string            `json:"delivery"`
	Webhook  storage.WebhookID `json:"webhook"`
	Events   []Event           `json:"events"`
}

// source is where the events of a delivery are.
type source string

const (
	fromLog     source = "log"     // changes
	fromMatches source = "matches" // matches of the party
	fromArgs    source = "given"   // in the job itself
)

// args are those of a job: a stretch of a source, beyond one place and up to another.
type args struct {
	Webhook storage.WebhookID `json:"webhook"`
	Source  source            `json:"source"`
	Log     string            `json:"log,omitempty"`   // the id of the log that the places are of
	Party   storage.PartyID   `json:"party,omitempty"` // that the events in the job are for
	After   uint64            `json:"after,omitempty"`
	Until   uint64            `json:"until,omitempty"`
	Count   int               `json:"count"` // of events, when it was made
	Events  []Event           `json:"events,omitempty"`
}

// key is that of the job. It begins with the webhook, by which its jobs are found; and the places of another log are other places.
func (a args) key() string {
	if a.Source == fromArgs {
		return a.name()
	}
	return a.name() + "@" + a.Log
}

// prefix begins the keys of a webhook's jobs.
func prefix(id storage.WebhookID) string { return fmt.Sprintf("%d-", id) }

// name is that of the delivery.
func (a args) name() string {
	if a.Source == fromArgs && len(a.Events) > 0 {
		return fmt.Sprintf("%d-%s-%s", a.Webhook, a.Source, a.Events[0].ID)
	}
	return fmt.Sprintf("%d-%s-%d-%d", a.Webhook, a.Source, a.After, a.Until)
}

// eventsOf are the kinds of events that a change may be. Of what was confirmed by a second person, the change does not say what it
// was, but where it has led to; what waits for one has led to nothing.
func eventsOf(c storage.Change) []string {
	switch c.Kind {
	case storage.EntryAdded:
		if active(c) {
			return []string{matcher.EventAdded}
		}
	case storage.EntryRetracted, storage.EntryRestored, storage.EntryQuarantined, storage.EntryExpired, storage.BankDeleted, storage.BankRestored:
		return []string{string(c.Kind)}
	case storage.EntryConfirmed:
		if active(c) {
			return []string{matcher.EventAdded, matcher.EventRestored}
		}
		return []string{matcher.EventRetracted}
	}
	return nil
}

// active reports whether an entry matches after a change. Records are written in one form, so that the signals of
// most need not be read for it.
func active(c storage.Change) bool {
	return bytes.HasPrefix(c.Body, []byte(`{"status":"active",`)) || entryBody(c).Status == storage.Active
}

// wants reports whether a webhook is told of one of these kinds.
func wants(h storage.Webhook, kinds ...string) bool {
	return slices.ContainsFunc(kinds, func(k string) bool { return slices.Contains(h.Kinds, k) })
}

// shortBody is the part of a [storage.EntryBody] that is told: signals are in the feed, for those who need them.
type shortBody struct {
	Status storage.Status `json:"status"`
	Labels []string       `json:"labels"`
}

func entryBody(c storage.Change) (b shortBody) {
	_ = json.Unmarshal(c.Body, &b) // written by the catalogue
	return b
}

// kindsOf names the kinds of events, for a header.
func kindsOf(events []Event) string {
	var kinds []string
	for _, e := range events {
		kinds = append(kinds, e.Kind)
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(kinds))), ",")
}
