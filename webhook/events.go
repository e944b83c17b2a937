package webhook

import (
	"context"
	"fmt"
	"time"

	"vigie/matcher"
	"vigie/storage"
)

// EntryData is what is told of an entry.
type EntryData struct {
	Entry  storage.EntryID `json:"entry"`
	Bank   string          `json:"bank"` // as the party calls it
	Status storage.Status  `json:"status"`
	Labels []string        `json:"labels"`
}

// BankData is what is told of a bank.
type BankData struct {
	Bank string `json:"bank"` // as the party calls it
}

// MatchData is what is told of a match: what GET /v1/matches/{match} shows more of.
type MatchData struct {
	Match     string `json:"match"`
	ContentID string `json:"content_id,omitempty"` // unless it was erased
	// Upload and UploadedAt are of a past upload that was looked for ([matcher.EventLookback]).
	Upload     string       `json:"upload,omitempty"`
	UploadedAt *time.Time   `json:"uploaded_at,omitempty"`
	Level      string       `json:"level"`
	Action     string       `json:"action"`
	IndexSeq   uint64       `json:"index_seq"`
	Entries    []MatchEntry `json:"entries"` // the strongest [mostEntries]
	Total      int          `json:"entries_total"`
}

// MatchEntry is an entry of a match.
type MatchEntry struct {
	Entry storage.EntryID `json:"entry"`
	Bank  string          `json:"bank,omitempty"` // as the party calls it; empty if it may not read it any more
	Level string          `json:"level"`
	Exact bool            `json:"exact"`
}

const mostEntries = 10 // of a match that are told

// reader is a party as far as its rights to read go: what every key of it may read.
func reader(party storage.PartyID) matcher.Principal {
	return matcher.Principal{Actor: "webhook", Party: party, Role: storage.Platform}
}

// tells reports whether a webhook is told of a change.
func tells(state *matcher.State, h storage.Webhook, c storage.Change) bool {
	return wants(h, eventsOf(c)...) && !state.Parties[h.Party].Suspended && state.MayRead(reader(h.Party), c)
}

// called is what a party calls a bank; empty if it may not read it.
func called(state *matcher.State, party storage.PartyID, bank storage.BankID) string {
	if b, ok := state.Banks[bank]; ok && state.MayRead(reader(party), storage.Change{Kind: storage.EntryAdded, Bank: bank}) {
		return matcher.Called(party, b, state.Parties[b.Owner].Name)
	}
	return ""
}

func ofChange(state *matcher.State, h storage.Webhook, c storage.Change) Event {
	e := Event{ID: fmt.Sprintf("%s:%d", state.LogID, c.Seq), Kind: string(c.Kind), At: c.At, Seq: c.Seq}
	if c.Kind.Subject() == "bank" {
		e.Data = BankData{Bank: called(state, h.Party, c.Bank)}
		return e
	}
	body := entryBody(c)
	if body.Labels == nil {
		body.Labels = []string{}
	}
	e.Data = EntryData{Entry: c.Entry, Bank: called(state, h.Party, c.Bank), Status: body.Status, Labels: body.Labels}
	return e
}

func ofMatch(state *matcher.State, h storage.Webhook, m storage.MatchRecord) Event {
	data := MatchData{
		Match: m.ID.String(), ContentID: m.ContentID, Level: m.Level, Action: m.Action, IndexSeq: m.IndexSeq,
		Entries: []MatchEntry{}, Total: len(m.Entries),
	}
	for _, e := range m.Entries[:min(len(m.Entries), mostEntries)] {
		data.Entries = append(data.Entries, MatchEntry{Entry: e.Entry, Bank: called(state, h.Party, e.Bank), Level: e.Level, Exact: e.Exact})
	}
	if m.Past != nil {
		data.Upload, data.UploadedAt = m.Past.Upload.String(), &m.Past.At
	}
	return Event{ID: "match:" + m.ID.String(), Kind: matchKind(m.Past != nil), At: m.At, Data: data}
}

// matchKind is the kind of the event that a match is.
func matchKind(past bool) string {
	if past {
		return matcher.EventLookback
	}
	return matcher.EventMatch
}

// events reads those of a job, as they are told now.
func (s *Sender) events(ctx context.Context, state *matcher.State, h storage.Webhook, a args) (events []Event, err error) {
	switch a.Source {
	case fromArgs:
		return a.Events, nil
	case fromMatches:
		return s.matchEvents(ctx, state, h, a)
	}
	for at := a.After; ; {
		changes, err := s.page(ctx, at, a.Until)
		if err != nil || len(changes) == 0 {
			return events, err
		}
		for _, c := range changes {
			if tells(state, h, c) {
				events = append(events, ofChange(state, h, c))
			}
		}
		at = changes[len(changes)-1].Seq
	}
}

// matchEvents reads those of a job about matches. What the webhook does not want is not read: it may be much, between few that it does.
func (s *Sender) matchEvents(ctx context.Context, state *matcher.State, h storage.Webhook, a args) (events []Event, err error) {
	stretch := storage.MatchStretch{Party: h.Party, After: a.After, Until: a.Until, Limit: pageSize}
	switch checks, past := wants(h, matcher.EventMatch), wants(h, matcher.EventLookback); {
	case !checks && !past:
		return nil, nil
	case checks != past:
		stretch.Past = &past
	}
	for {
		var page []storage.MatchRecord
		err := s.catalogue.View(ctx, func(r storage.Reader) (err error) {
			page, err = r.MatchesAfter(stretch)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, m := range page {
			events = append(events, ofMatch(state, h, m))
		}
		if len(page) < stretch.Limit {
			return events, nil
		}
		stretch.After = page[len(page)-1].Ord
	}
}
