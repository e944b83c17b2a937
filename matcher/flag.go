package matcher

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vigie/hashing"
	"vigie/hashing/fingerprint"
	"vigie/storage"
)

// Flagging is what an analyst says: this media belongs into this bank.
type Flagging struct {
	Bank      string
	Media     *hashing.Media   // nil if only signals are known
	Signals   []hashing.Signal // of the same media; may be nil if Media is given
	Labels    []string
	Note      string
	Origin    string // where it comes from: a URL, a case number
	ExactOnly bool   // take Media by its digests alone
	// ExpiresAt is when it is to match no more; zero: never.
	ExpiresAt time.Time
	// DespiteKnownGood flags also what is near a known-good entry.
	DespiteKnownGood bool
	Who              Principal

	lookback bool // past uploads are searched for it
}

// Flagged answers a flag.
type Flagged struct {
	Entry     storage.Entry
	Bank      storage.Bank
	Created   bool // false if the bank had it already, and the source was added
	Seq       uint64
	Matchable bool // this node's index has it already
	// Retracted are entries of the same media in the bank that people have taken back, with their
	// reasons; whoever flags it again should know. Only if Created.
	Retracted  []storage.Entry
	Frames     *Frames // of a video; nil for other media
	Neighbours []Found // other entries that it matches, of all banks, strongest first, without labels; at most 20
}

const (
	maxNeighbours   = 20  // that a flag answers
	maxSources      = 200 // that an entry keeps
	maxEntrySignals = 256 // of an entry that further flags of the same media may add to; frames of a video not counted
)

// Flag adds media to a bank. What the bank has already (same SHA-256 or same PDQ; where the flag has
// neither, all its signals) is answered with the existing entry, to which the source is added, and the
// signals and bytes that it lacks; its labels and note stay, and its expiry, unless the flag names a later one and the bank is not
// under dual control. Retracted entries do not count as had, but the answer names them; nor do those that expired.
//
// Media that cannot be hashed perceptually are an [*UnhashableError], media that cannot be decoded a
// [*hashing.MediaError], unless ExactOnly asks for the digests alone. What is near an entry of a known-good bank, as far as
// the party subscribes to it, is ErrKnownGood. Under dual control the entry is proposed. Other errors: [*InputError],
// ErrUnknownBank, ErrForeign, ErrNotReady, ErrFull (also for what the bank has, whose rows are replaced). When Flag returns nil the entry is durable; after an error of ctx it
// may be, and flagging again is harmless.
func (m *Matcher) Flag(ctx context.Context, f Flagging) (Flagged, error) {
	labels, err := cleanLabels(f.Labels)
	if err = errors.Join(err, checkLength("note", f.Note, maxNote), checkLength("origin", f.Origin, maxOrigin)); err != nil {
		return Flagged{}, err
	}
	entry := storage.Entry{
		Status: storage.Active, Labels: labels, Note: f.Note, ExpiresAt: milliseconds(f.ExpiresAt),
		Sources: []storage.Source{{Actor: f.Who.Actor, Origin: f.Origin}},
	}
	if had, err := m.replay(ctx); err != nil {
		return Flagged{}, err
	} else if had != nil {
		return m.flaggedBefore(ctx, f, *had)
	}
	if err := m.checkExpiry(f.ExpiresAt); err != nil { // of a request that comes again it may have come
		return Flagged{}, err
	}
	if err := m.room(1); err != nil { // before minutes of decoding
		return Flagged{}, err
	}
	near, frames, err := m.recognise(ctx, f, &entry)
	if err != nil {
		return Flagged{}, err
	}
	if err := m.room(len(entry.Signals)); err != nil {
		return Flagged{}, err
	}
	f.lookback = true
	own := f.Bank[strings.LastIndex(f.Bank, calledOf)+1:]
	good := func(n Found) bool {
		return n.Bank.Kind == storage.KnownGood && !(n.Bank.Owner == f.Who.Party && n.Bank.Name == own)
	}
	if i := slices.IndexFunc(near, good); i >= 0 && !f.DespiteKnownGood {
		return Flagged{}, fmt.Errorf("%w: entry %d of %s, distance %d", ErrKnownGood, near[i].Entry, near[i].Bank.Name, near[i].Distance)
	}
	out, err := m.store(ctx, f, entry)
	if err != nil {
		return Flagged{}, err
	}
	out.Frames = frames
	// The flag is done; nothing may fail from here on.
	if m.o.Events.Flagged != nil {
		m.o.Events.Flagged(out.Created)
	}
	out.Matchable = m.settle(ctx, out.Seq) && out.Entry.Status == storage.Active
	near = slices.DeleteFunc(near, func(n Found) bool { return n.Entry == out.Entry.ID })
	out.Neighbours = near[:min(len(near), maxNeighbours)]
	return out, nil
}

// flaggedBefore answers a flag that was made before, with the entry as it is now.
func (m *Matcher) flaggedBefore(ctx context.Context, f Flagging, had done) (out Flagged, err error) {
	out = Flagged{Created: had.Kind == storage.EntryAdded, Seq: had.Seq}
	if out.Entry, out.Bank, err = m.Entry(ctx, f.Who, had.Entry); err != nil {
		return Flagged{}, err
	}
	if timed(out.Entry.Signals) {
		times, _ := byTime(out.Entry.Signals)
		out.Frames = &Frames{Kept: len(times)}
	}
	state, err := m.loaded(ctx)
	if err != nil {
		return Flagged{}, err
	}
	out.Matchable = out.Entry.Status == storage.Active && state.Seq >= out.Seq
	near, err := m.near(ctx, f.Who, askSignals(usable(out.Entry.Signals), false))
	near = slices.DeleteFunc(near, func(n Found) bool { return n.Entry == out.Entry.ID })
	out.Neighbours = near[:min(len(near), maxNeighbours)]
	return out, err
}

// recognise fills in the entry, and finds its neighbours. The frames are those of a video.
func (m *Matcher) recognise(ctx context.Context, f Flagging, e *storage.Entry) ([]Found, *Frames, error) {
	format := m.container(f.Media)
	if format != "" && !f.ExactOnly || f.Media == nil && timed(f.Signals) {
		return m.describeVideo(ctx, f, e)
	}
	picture, beside, err := m.describe(ctx, f, e)
	if err != nil {
		return nil, nil, err
	}
	e.Media.Format = cmp.Or(e.Media.Format, format)
	near, err := m.neighbours(ctx, f.Who, picture, beside)
	return near, nil, err
}

// describe hashes what is flagged, guards it, and fills in the entry's media and signals. It returns the
// picture, and the signals that are known beside it: digests, and those that were sent.
func (m *Matcher) describe(ctx context.Context, f Flagging, e *storage.Entry) (p hashing.Picture, beside []hashing.Signal, err error) {
	if err := cmp.Or(checkSignals(f.Signals), checkTimes(f.Signals)); err != nil {
		return p, nil, err
	}
	for _, s := range f.Signals {
		if err := poor(s); err != nil {
			return p, nil, err
		}
	}
	if f.Media == nil {
		if len(f.Signals) == 0 {
			return p, nil, noSignals()
		}
		if f.ExactOnly {
			return p, nil, invalid("exact_only", "it is for files; signals are matched as what they are")
		}
		e.ExactOnly = !slices.ContainsFunc(f.Signals, func(s hashing.Signal) bool { return !s.Algorithm.Exact() })
	} else {
		e.Media = storage.MediaInfo{SHA256: f.Media.SHA256, Bytes: int64(len(f.Media.Data))}
		e.ExactOnly = f.ExactOnly
		beside = f.Media.Digests()
		for _, s := range f.Signals {
			if d := digestOf(f.Media, s.Algorithm); d != nil && d.Value != s.Value {
				return p, nil, invalid("signals", "the %s sent is not that of the file", s.Algorithm)
			}
		}
		p, err = m.hasher.Picture(ctx, f.Media.Data)
		if _, bad := hashing.AsMediaError(err); err != nil && !(bad && f.ExactOnly) {
			return p, nil, err
		}
		if p.Unhashable != "" && !f.ExactOnly {
			return p, nil, &UnhashableError{Reason: p.Unhashable, Detail: whyUnhashable[p.Unhashable]}
		}
		e.Media.Format, e.Media.Width, e.Media.Height = p.Format, p.Width, p.Height
		if f.ExactOnly {
			p = hashing.Picture{}
		}
	}
	e.Signals = slices.Concat(beside, fingerprint.Stored(p))
	for _, s := range f.Signals {
		if !f.ExactOnly || s.Algorithm.Exact() {
			e.Signals = append(e.Signals, s)
			beside = append(beside, s)
		}
	}
	e.Signals = distinct(e.Signals)
	return p, beside, nil
}

func digestOf(media *hashing.Media, a hashing.Algorithm) *hashing.Signal {
	for _, d := range media.Digests() {
		if d.Algorithm == a {
			return &d
		}
	}
	return nil
}

// distinct drops signals of an algorithm, variant, value and time that came before.
func distinct(signals []hashing.Signal) []hashing.Signal {
	var kept []hashing.Signal
	seen := map[hashing.Signal]bool{}
	for _, s := range signals {
		key := hashing.Signal{Algorithm: s.Algorithm, Variant: s.Variant, Time: s.Time, Value: s.Value}
		if !seen[key] {
			kept = append(kept, s)
		}
		seen[key] = true
	}
	return kept
}

// store writes the bytes, if the bank wants them, and then the entry. It tries again when what it saw
// before its transaction has changed meanwhile: the sweeper is removing an orphan of the same bytes, or
// the entry that had them was retracted.
func (m *Matcher) store(ctx context.Context, f Flagging, e storage.Entry) (Flagged, error) {
	for wait := 20 * time.Millisecond; ; wait *= 2 {
		kept, err := m.keep(ctx, f, e)
		if err == nil {
			var out Flagged
			e.Media.Kept = kept
			if out, err = m.add(ctx, f, e); err == nil {
				return out, nil
			}
		}
		if !errors.Is(err, storage.ErrConflict) || wait > time.Second {
			return Flagged{}, err
		}
		select {
		case <-ctx.Done():
			return Flagged{}, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// keep stores the bytes if the bank wants them and has no entry of them, and reports whether it did:
// their row is pending before the file is written, and live in the entry's transaction.
func (m *Matcher) keep(ctx context.Context, f Flagging, e storage.Entry) (bool, error) {
	kept, err := soon(ctx, m, func(ctx context.Context) (kept bool, err error) {
		err = m.catalogue.View(ctx, func(r storage.Reader) error {
			bank, err := ownBank(r, f.Who, f.Bank)
			if err != nil {
				return err
			}
			had, _, err := sameMedia(r, bank.ID, e)
			if had != nil && bank.Dual && !includes(had.Signals, e.Signals) {
				had = nil // as in addTo
			}
			kept = f.Media != nil && bank.Policy.KeepMedia && (had == nil || had.Media == (storage.MediaInfo{}))
			return err
		})
		return kept, err
	})
	if err != nil || !kept {
		return false, err
	}
	err = m.catalogue.Update(ctx, func(w storage.Writer) error {
		_, err := w.MediaPend(e.Media.SHA256, e.Media.Bytes)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("reserve the media: %w", err)
	}
	if err := m.blobs.Put(ctx, e.Media.SHA256, f.Media.Data); err != nil {
		return false, fmt.Errorf("store the media: %w", err)
	}
	return true, nil
}

// add writes the entry and its change, or the source and its change if the bank has the entry.
func (m *Matcher) add(ctx context.Context, f Flagging, entry storage.Entry) (out Flagged, err error) {
	had, err := m.update(ctx, func(w storage.Writer) (*storage.Change, error) {
		bank, err := ownBank(w, f.Who, f.Bank)
		if err != nil {
			return nil, err
		}
		had, retracted, err := sameMedia(w, bank.ID, entry)
		if err != nil {
			return nil, err
		}
		retracted = slices.DeleteFunc(retracted, func(o storage.Entry) bool { return o.Status == storage.Expired }) // nobody took it back
		out = Flagged{Bank: bank, Retracted: retracted}
		return m.addTo(w, &out, f, entry, had)
	})
	if err == nil && had.replayed {
		return m.flaggedBefore(ctx, f, had)
	}
	out.Seq, out.Entry.Seq = had.Seq, had.Seq
	return out, err
}

// addTo writes the entry to a bank as part of a transaction, or what it brings to the one that the bank had, and drafts the
// change.
func (m *Matcher) addTo(w storage.Writer, out *Flagged, f Flagging, entry storage.Entry, had *storage.Entry) (_ *storage.Change, err error) {
	bank := out.Bank
	if had != nil && bank.Dual && !includes(had.Signals, entry.Signals) {
		had = nil // what is new of it needs a second person, too
	}
	out.Created = had == nil
	if had != nil {
		out.Retracted = nil
		if err := extend(w, *had, entry); err != nil {
			return nil, err
		}
		if prolongs(bank, *had, entry) {
			longer := *had
			longer.ExpiresAt = entry.ExpiresAt
			if err := w.UpdateEntry(longer); err != nil {
				return nil, err
			}
		}
		if out.Entry, err = w.Entry(had.ID); err != nil {
			return nil, err
		}
		fresh := f.lookback && len(out.Entry.Signals) > len(had.Signals)
		return lookedFor(entryChange(storage.EntrySourced, f.Who.Actor, out.Entry, private{Origin: f.Origin}), fresh), nil
	}
	if f.Media != nil && bank.Policy.KeepMedia && !entry.Media.Kept {
		return nil, fmt.Errorf("the media were not stored: %w", storage.ErrConflict)
	}
	if entry.Media.Kept {
		if err := w.MediaLive(entry.Media.SHA256); err != nil {
			return nil, err
		}
	}
	out.Entry = entry
	out.Entry.Bank = bank.ID
	if needsSecond(bank, storage.EntryConfirmed) {
		out.Entry.Status = storage.Proposed
		out.Entry.Proposal = &storage.Proposal{Kind: storage.EntryConfirmed, Actor: f.Who.Actor, At: milliseconds(m.o.Now())}
	}
	if err := w.CreateEntry(&out.Entry); err != nil {
		return nil, err
	}
	return lookedFor(entryChange(storage.EntryAdded, f.Who.Actor, out.Entry, private{Note: f.Note, Origin: f.Origin}), f.lookback), nil
}

// extend adds to an entry what another flag of the same media brings: its source, if it has one, and signals and
// bytes that the entry lacks. Nothing that was flagged is without effect.
func extend(w storage.Writer, had, flagged storage.Entry) error {
	if len(flagged.Sources) > 0 && len(had.Sources) < maxSources {
		if err := w.AddSource(had.ID, flagged.Sources[0]); err != nil {
			return err
		}
	}
	if had.Media == (storage.MediaInfo{}) && flagged.Media.Kept {
		if err := w.MediaLive(flagged.Media.SHA256); err != nil {
			return err
		}
	}
	signals := flagged.Signals
	if timed(had.Signals) && timed(signals) { // it has the frames that its bank stores
		signals = slices.DeleteFunc(slices.Clone(signals), isFrame)
	}
	return w.Extend(had.ID, signals, flagged.Media)
}

// isFrame reports whether a signal of a video is one of its frames'.
func isFrame(s hashing.Signal) bool { return s.Algorithm == hashing.PDQ }

// besideFrames counts the signals of an entry that are not frames of a video.
func besideFrames(signals []hashing.Signal) int {
	if !timed(signals) {
		return len(signals)
	}
	return len(slices.DeleteFunc(slices.Clone(signals), isFrame))
}

// sameMedia finds the active entry of a bank that has the same SHA-256 or, if neither is a video, the
// same plain PDQ, or else one that waits for a second person; for an entry that has neither, one that has all its signals. It
// is nil if there is none; then retracted are
// those that would be it, had they not been retracted. An entry that is matched by its digests alone does
// not stand for one that is matched by more: somebody wanted it so.
func sameMedia(r storage.Reader, bank storage.BankID, e storage.Entry) (had *storage.Entry, retracted []storage.Entry, err error) {
	var telling []hashing.Signal
	video := timed(e.Signals)
	for _, a := range []hashing.Algorithm{hashing.SHA256, hashing.PDQ} {
		for _, s := range e.Signals {
			if s.Algorithm == a && s.Variant == hashing.Plain && (a.Exact() || !video) {
				telling = append(telling, s)
			}
		}
	}
	all := len(telling) == 0
	if all {
		telling = e.Signals[:min(1, len(e.Signals))]
	}
	seen := map[storage.EntryID]bool{e.ID: true}
	for _, s := range telling {
		ids, err := r.EntriesWith(bank, s)
		if err != nil {
			return nil, nil, err
		}
		for _, id := range ids {
			if seen[id] {
				continue
			}
			seen[id] = true
			other, err := r.Entry(id)
			switch {
			case err != nil:
				return nil, nil, err
			case other.ExactOnly && !e.ExactOnly, all && !includes(other.Signals, e.Signals):
			case s.Algorithm == hashing.PDQ && timed(other.Signals) != video: // a video that shows the picture
			case besideFrames(other.Signals)+besideFrames(e.Signals) > maxEntrySignals:
			case other.Status == storage.Active:
				return &other, nil, nil
			case other.Status == storage.Proposed:
				had = cmp.Or(had, &other)
			default:
				retracted = append(retracted, other)
			}
		}
	}
	if had != nil {
		retracted = nil
	}
	return had, retracted, nil
}

// includes reports whether all of some signals are among others.
func includes(all, some []hashing.Signal) bool {
	return len(distinct(slices.Concat(all, some))) == len(distinct(all))
}

// neighbours are the entries within whose radii the flag is, before it is made, of the banks that count for the party,
// strongest first.
func (m *Matcher) neighbours(ctx context.Context, who Principal, p hashing.Picture, beside []hashing.Signal) ([]Found, error) {
	state, err := m.loaded(ctx)
	if err != nil {
		return nil, err
	}
	return m.near(ctx, who, slices.Concat(askPicture(p, false), askPlain(shortAlone(p, state.scope(who.Party).banks)), askSignals(beside, false)))
}

// near is what is found for asks, known-good entries included.
func (m *Matcher) near(ctx context.Context, who Principal, asks []ask) ([]Found, error) {
	state, err := m.loaded(ctx)
	if err != nil {
		return nil, err
	}
	w := newWatch(state, state.scope(who.Party))
	w.loud = true
	if err := w.add(ctx, asks); err != nil {
		return nil, err
	}
	return w.found(trackOf(asks)), nil
}

// private is the personal part of a change.
type private struct {
	Note   string `json:"note,omitempty"`
	Origin string `json:"origin,omitempty"`
	Reason string `json:"reason,omitempty"`
	Name   string `json:"name,omitempty"`
}

// entryChange drafts the change of an entry.
func entryChange(kind storage.Kind, actor string, e storage.Entry, p private) *storage.Change {
	body := storage.EntryBody{Status: e.Status, ExactOnly: e.ExactOnly, Labels: e.Labels, Proposal: publicProposal(e.Proposal), ExpiresAt: e.ExpiresAt}
	for _, s := range e.Signals {
		body.Signals = append(body.Signals, storage.BodyOf(s))
	}
	return draft(storage.Change{Kind: kind, Actor: actor, Bank: e.Bank, Entry: e.ID}, body, p)
}

// lookedFor has past uploads searched for what a change made active, if that is wanted.
func lookedFor(c *storage.Change, wanted bool) *storage.Change {
	if !wanted {
		return c
	}
	var body storage.EntryBody
	_ = json.Unmarshal(c.Body, &body) // entryChange wrote it
	body.Lookback = body.Status == storage.Active
	c.Body, _ = json.Marshal(body)
	return c
}

// publicProposal is a proposal without what may be personal.
func publicProposal(p *storage.Proposal) *storage.Proposal {
	if p == nil {
		return nil
	}
	public := *p
	public.Reason = ""
	return &public
}

// draft completes a change with its body and, if there is any, its personal part.
func draft(c storage.Change, body any, p private) *storage.Change {
	c.Body, _ = json.Marshal(body) // plain structs: cannot fail
	if p != (private{}) {
		c.Private, _ = json.Marshal(p)
	}
	return &c
}
