package matcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

// Listed is one entry of a list: what others have flagged, known by its signals alone.
type Listed struct {
	Signals []hashing.Signal
	Labels  []string
	Note    string
	Media   storage.MediaInfo // what the list says of the bytes; not Kept
	Source  storage.Source    // its Actor is set; At, if zero
	More    []storage.Source  // further ones, likewise; an entry keeps 200 in all, and the log the first origin
	// ExactOnly leaves out what is not a digest.
	ExactOnly bool
}

// ListOptions are for all entries of a list.
type ListOptions struct {
	DryRun           bool // say what would become of them, and store nothing
	DespiteKnownGood bool // flag also what is near a known-good entry
	// Rehearsal, of a dry run, is what the parts of the list before this one would have changed; without it only what stands
	// twice in this part is told so.
	Rehearsal *Rehearsal
}

// ListedOutcome is what became of one entry of a list.
type ListedOutcome struct {
	Entry   storage.EntryID // 0 if Err
	Created bool
	// Same: the bank has it already, with all of its signals and this very source; nothing was changed.
	Same bool
	// Noted is how many labels the vocabulary does not know, so that a new entry has them in its note, as far as there is room.
	Noted int
	Err   error // [*InputError], [*UnhashableError], ErrKnownGood, ErrTakenBack: this entry alone is left out
}

// ErrTakenBack: the bank had what a list has, and it was retracted, rejected or quarantined there. A list does not bring
// it back: it would do so each time that it comes again.
var ErrTakenBack = errors.New("the bank has taken it back; restore the entry if it is to match again")

const (
	// maxListed bounds the entries of one call of [Matcher.FlagList].
	maxListed = 1000
	// So many entries, or signals of several, are stored in one transaction: few enough that a flag which waits for its
	// turn hardly notices, many enough that a sync is shared.
	listedAtOnce, listedSignals = 32, 512

	maxList    = 200 // bytes of the name of a list, and of an entry's id there
	maxFormat  = 64  // bytes of the name of a format
	askedAhead = 256 // signals that are searched for at a time
)

// FlagList adds entries of a list to a bank, in order, some in each transaction; one bad entry never stops the others. What
// the bank has already gets the source, unless it has that too: the same list can be read twice without harm. It says what
// became of each, and the seq of the last change (0: none), for which it does not wait. When it fails, what it has stored
// stays, and out tells of as many entries as were done: read the list again, or the rest of it.
// Errors: [*InputError] for more than 1,000, ErrUnknownBank, ErrForeign, ErrNotReady, ErrFull.
func (m *Matcher) FlagList(ctx context.Context, who Principal, bank string, items []Listed, o ListOptions) (out []ListedOutcome, seq uint64, err error) {
	if len(items) > maxListed {
		return nil, 0, invalid("entries", "%d of them; accepted are at most %d at once", len(items), maxListed)
	}
	var b storage.Bank
	err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		b, err = ownBank(r, who, bank)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	out = make([]ListedOutcome, len(items))
	entries := make([]storage.Entry, len(items))
	for i, item := range items {
		entries[i], out[i].Noted, out[i].Err = listed(who, b, item)
	}
	if o.DryRun && o.Rehearsal == nil {
		o.Rehearsal = &Rehearsal{}
	}
	if !o.DespiteKnownGood {
		if err := m.refuseKnownGood(ctx, who, b.ID, entries, out); err != nil {
			return nil, 0, err
		}
	}
	for first, last := 0, 0; first < len(items); first = last {
		signals := 0
		for last = first; last < len(items) && last < first+listedAtOnce; last++ {
			if signals += len(entries[last].Signals); signals > listedSignals && last > first {
				break
			}
		}
		if err := m.room(signals); err != nil {
			return out[:first], seq, err
		}
		at := seq
		if o.DryRun {
			err = m.wouldAdd(ctx, who, bank, o.Rehearsal, entries[first:last], out[first:last])
		} else {
			at, err = m.addListed(ctx, who, bank, entries[first:last], out[first:last])
		}
		if err != nil {
			return out[:first], seq, err
		}
		seq = max(seq, at)
	}
	return out, seq, nil
}

// listed checks an entry of a list, and fills it in. Noted is how many of its labels stand in the note.
func listed(who Principal, b storage.Bank, item Listed) (_ storage.Entry, noted int, _ error) {
	labels, strange := fitting(item.Labels)
	labels, err := cleanLabels(labels)
	note := item.Note
	if len(strange) > 0 {
		note = withLabels(note, strange)
	}
	sources := slices.Concat([]storage.Source{item.Source}, item.More)
	sources = sources[:min(len(sources), maxSources)]
	faults := []error{
		err, checkLength("note", note, maxNote), checkLength("format", item.Media.Format, maxFormat),
		checkSignals(item.Signals), checkTimes(item.Signals), checkVersions(item.Signals),
	}
	for i := range sources {
		s := &sources[i]
		faults = append(faults, checkLength("origin", s.Origin, maxOrigin), checkLength("source", s.List, maxList), checkLength("foreign_id", s.Foreign, maxList))
		s.Actor = who.Actor
		if s.At.UnixMilli() == 0 {
			s.At = time.Time{} // as a catalogue has it, too
		}
	}
	for _, fault := range faults {
		if fault != nil {
			return storage.Entry{}, 0, fault
		}
	}
	if len(item.Signals) == 0 {
		return storage.Entry{}, 0, noSignals()
	}
	video, perceptual := timed(item.Signals), false
	for _, s := range item.Signals {
		if err := poor(s); err != nil && !video {
			return storage.Entry{}, 0, err
		}
		perceptual = perceptual || !s.Algorithm.Exact()
	}
	if item.ExactOnly && perceptual {
		return storage.Entry{}, 0, invalid("exact_only", "the list has perceptual hashes of it, too")
	}
	e := storage.Entry{
		Status: storage.Active, Labels: labels, Note: note, Media: item.Media, ExactOnly: !perceptual,
		Signals: item.Signals, Sources: sources,
	}
	e.Media.Kept = false
	if video {
		e.Signals = fewerFrames(usable(e.Signals), cmp.Or(b.Policy.MaxFrames, DefaultMaxFrames))
	}
	if e.Signals = distinct(e.Signals); len(e.Signals) == 0 {
		return storage.Entry{}, 0, &UnhashableError{Reason: hashing.LowQuality, Detail: noFrames}
	}
	return e, len(strange), nil
}

// withLabels is a note with labels behind it, cut to what a note may hold: no entry is lost to its labels.
func withLabels(note string, labels []string) string {
	const cut = "..."
	text := "labels: " + strings.Join(labels, " ")
	if note != "" {
		text = "\n" + text
	}
	switch room := maxNote - len(note); {
	case len(text) <= room:
		return note + text
	case room <= len(cut):
		return note
	default:
		return note + text[:room-len(cut)] + cut
	}
}

// spellings are labels, or their names, as others write them.
var spellings = map[string]string{"behavior": "behaviour", "tlp:white": "tlp:clear"}

// fitting tells labels that the vocabulary takes from those under one of its names that it does not: others mean other things
// by them, or know more of them, and an entry is not lost for that. They may write hyphens for underscores.
func fitting(labels []string) (fit, strange []string) {
	terms := map[string]Term{}
	for _, t := range Vocabulary() {
		terms[t.Name] = t
	}
	had := map[string]string{}
	for _, l := range labels {
		name, value, named := strings.Cut(cmp.Or(spellings[l], l), ":")
		name = cmp.Or(spellings[name], name)
		t, ruled := terms[name]
		if !ruled || !named {
			fit = append(fit, l)
			continue
		}
		if !t.accepts(value) {
			value = strings.ReplaceAll(value, "-", "_")
		}
		if !t.accepts(value) || !t.Many && had[name] != "" && had[name] != value {
			strange = append(strange, l)
			continue
		}
		had[name] = value
		fit = append(fit, name+":"+value)
	}
	return fit, strange
}

// checkVersions refuses hashes that this node's cannot be compared with.
func checkVersions(signals []hashing.Signal) error {
	for i, s := range signals {
		if s.Version != s.Algorithm.Version() {
			return invalid("signals", "number %d: version %d of %s; accepted is %d", i, s.Version, s.Algorithm, s.Algorithm.Version())
		}
	}
	return nil
}

// fewerFrames leaves out frames of a video, as a flag does, if they are more than a bank stores.
func fewerFrames(signals []hashing.Signal, most int) []hashing.Signal {
	times, _ := byTime(signals)
	if len(times) <= most {
		return signals
	}
	kept := thin(times, most)
	return slices.DeleteFunc(signals, func(s hashing.Signal) bool {
		_, ok := slices.BinarySearch(kept, s.Time)
		return isFrame(s) && !ok
	})
}

// refuseKnownGood notes which entries are near a known-good one that the party subscribes to.
func (m *Matcher) refuseKnownGood(ctx context.Context, who Principal, bank storage.BankID, entries []storage.Entry, out []ListedOutcome) error {
	state, err := m.loaded(ctx)
	if err != nil {
		return err
	}
	good := state.scope(who.Party).only(func(b storage.Bank) bool { return b.Kind == storage.KnownGood && b.ID != bank })
	if len(good.banks) == 0 {
		return nil
	}
	var asks []ask
	var of []int // the entry of each
	flush := func() error {
		results, err := find(ctx, state, asks, good.banks)
		for n, r := range results {
			if hits := r.Hits; len(hits) > 0 {
				out[of[n]].Err = fmt.Errorf("%w: entry %d of %s", ErrKnownGood, hits[0].Entry, good.by[storage.BankID(hits[0].Bank)].Name)
			}
		}
		asks, of = asks[:0], of[:0]
		return err
	}
	for i := range entries {
		if out[i].Err != nil {
			continue
		}
		for _, a := range askSignals(entries[i].Signals, false) {
			if asks, of = append(asks, a), append(of, i); len(asks) < askedAhead {
				continue
			}
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// addListed stores entries in one transaction, but for those that have an error already.
func (m *Matcher) addListed(ctx context.Context, who Principal, bank string, entries []storage.Entry, out []ListedOutcome) (seq uint64, err error) {
	var last *storage.Change
	err = m.catalogue.Update(ctx, func(w storage.Writer) error {
		b, err := ownBank(w, who, bank)
		if err != nil {
			return err
		}
		for i, e := range entries {
			if out[i].Err != nil {
				continue
			}
			had, same, err := hadListed(w, b, e)
			switch {
			case errors.Is(err, ErrTakenBack):
				out[i] = ListedOutcome{Noted: out[i].Noted, Err: err}
				continue
			case err != nil:
				return err
			case same:
				out[i] = ListedOutcome{Entry: had.ID, Same: true, Noted: out[i].Noted}
				continue
			}
			fresh := e.Sources
			var more []storage.Source // behind the first, which addTo adds to an entry that the bank had
			if had != nil && !proposes(b, *had, e) {
				fresh = lacking(had.Sources, e.Sources)
				kept := fresh[:min(len(fresh), max(0, maxSources-len(had.Sources)))]
				first := min(len(kept), 1)
				e.Sources, more = kept[:first], kept[first:]
			}
			flagged := Flagged{Bank: b}
			draft, err := m.addTo(w, &flagged, Flagging{Who: who, Note: e.Note, Origin: origin(fresh)}, e, had)
			if err != nil {
				return err
			}
			for _, s := range more {
				if err := w.AddSource(had.ID, s); err != nil {
					return err
				}
			}
			if err := w.Append(draft); err != nil {
				return err
			}
			last = draft
			out[i] = ListedOutcome{Entry: flagged.Entry.ID, Created: flagged.Created, Noted: out[i].Noted}
		}
		return nil
	})
	if err != nil || last == nil {
		return 0, err
	}
	if m.o.Events.Flagged != nil {
		for _, o := range out {
			if o.Err == nil && !o.Same {
				m.o.Events.Flagged(o.Created)
			}
		}
	}
	return last.Seq, nil
}

// wouldAdd says what addListed would do, as far as the bank stands now and what was rehearsed would have changed it.
func (m *Matcher) wouldAdd(ctx context.Context, who Principal, bank string, so *Rehearsal, entries []storage.Entry, out []ListedOutcome) error {
	return m.catalogue.View(ctx, func(r storage.Reader) error {
		b, err := ownBank(r, who, bank)
		if err != nil {
			return err
		}
		for i, e := range entries {
			if out[i].Err != nil {
				continue
			}
			had, same, err := hadListed(so.on(r), b, e)
			switch {
			case errors.Is(err, ErrTakenBack):
				out[i].Err = err
				continue
			case err != nil:
				return err
			case had == nil || !same && proposes(b, *had, e):
				out[i].Created = true
				so.create(b, e)
				continue
			case !same:
				so.extend(*had, e, lacking(had.Sources, e.Sources))
			}
			if out[i].Same = same; had.ID < firstRehearsed {
				out[i].Entry = had.ID
			}
		}
		return nil
	})
}

// proposes reports whether what an entry of a list adds to one that the bank had needs a second person, as an entry of its own.
func proposes(b storage.Bank, had, e storage.Entry) bool {
	return b.Dual && !includes(had.Signals, e.Signals)
}

// hadListed is the entry of a bank that an entry of a list is, and whether the list would bring nothing new to it.
// ErrTakenBack if there is none but such.
func hadListed(r storage.Reader, b storage.Bank, e storage.Entry) (had *storage.Entry, same bool, err error) {
	had, back, err := sameMedia(r, b.ID, e)
	if err == nil && had != nil && proposes(b, *had, e) {
		var before *storage.Entry
		if before, back, err = proposedBefore(r, b, *had, e); before != nil {
			had = before
		}
	}
	switch {
	case err != nil:
		return nil, false, err
	case len(back) > 0:
		return nil, false, fmt.Errorf("%w: entry %d, %s", ErrTakenBack, back[0].ID, back[0].Status)
	case had == nil:
		return nil, false, nil
	}
	sourced := len(had.Sources) >= maxSources || len(lacking(had.Sources, e.Sources)) == 0 // it takes no more than so many
	return had, sourced && includes(had.Signals, e.Signals), nil
}

// lacking are the sources that others are without.
func lacking(had, sources []storage.Source) []storage.Source {
	return slices.DeleteFunc(slices.Clone(sources), func(s storage.Source) bool { return slices.ContainsFunc(had, sameSource(s)) })
}

// origin is the first that sources have, for the log: all of them would be 400 kB, of which each change may have as much.
func origin(sources []storage.Source) string {
	if i := slices.IndexFunc(sources, func(s storage.Source) bool { return s.Origin != "" }); i >= 0 {
		return sources[i].Origin
	}
	return ""
}

// proposedBefore finds what became of the proposal to add to an entry what is new of e: an entry of its own, under dual
// control.
func proposedBefore(r storage.Reader, b storage.Bank, had, e storage.Entry) (proposed *storage.Entry, back []storage.Entry, err error) {
	fresh := slices.IndexFunc(e.Signals, func(s hashing.Signal) bool { return !includes(had.Signals, []hashing.Signal{s}) })
	ids, err := r.EntriesWith(b.ID, e.Signals[fresh])
	for _, id := range ids {
		var other storage.Entry
		if err == nil {
			other, err = r.Entry(id)
		}
		switch {
		case err != nil:
			return nil, nil, err
		case !includes(other.Signals, e.Signals):
		case other.Status == storage.Proposed, other.Status == storage.Active:
			return &other, nil, nil
		default:
			back = append(back, other)
		}
	}
	return nil, back, err
}

// sameSource tells sources apart by whence they are, not by when.
func sameSource(s storage.Source) func(storage.Source) bool {
	return func(o storage.Source) bool {
		o.At = s.At
		return o == s
	}
}
