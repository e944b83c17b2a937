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
	// ExpiresAt is when it is to match no more; zero: never.
	ExpiresAt time.Time
	More      []storage.Source // further ones, likewise; an entry keeps 200 in all, and the log the first origin
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

// ErrTakenBack: the bank had what a list has, and it was retracted, rejected or quarantined there, or expired, and the list does not
// name a later time. A list does not bring it back: it would do so each time that it comes again.
var ErrTakenBack = errors.New("the bank has taken it back; restore the entry if it is to match again")

const (
	// maxListed bounds the entries of one call of [Matcher.FlagList].
	maxListed = 1000
	// Nobody else writes while a part of a list is stored, so that a part is bounded by its time: it takes up no more entries after
	// listedHold, and as many signals as the parts before it say would take half of that. Their number begins small, as
	// nobody knows how far the database is.
	listedHold               = 100 * time.Millisecond
	firstListed, leastListed = 128, 16
	mostListed               = 4096

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
		out[i].Err = cmp.Or(out[i].Err, m.checkExpiry(item.ExpiresAt))
	}
	if o.DryRun && o.Rehearsal == nil {
		o.Rehearsal = &Rehearsal{}
	}
	if !o.DespiteKnownGood {
		if err := m.refuseKnownGood(ctx, who, b.ID, entries, out); err != nil {
			return nil, 0, err
		}
	}
	pace := firstListed
	for first := 0; first < len(items); {
		last, signals := part(entries, first, pace)
		if err := m.room(signals); err != nil {
			return out[:first], seq, err
		}
		if o.DryRun {
			if err := m.wouldAdd(ctx, who, bank, o.Rehearsal, entries[first:last], out[first:last]); err != nil {
				return out[:first], seq, err
			}
			first = last
			continue
		}
		done, at, held, err := m.addListed(ctx, who, bank, entries[first:last], out[first:last])
		if err != nil {
			return out[:first], seq, err
		}
		first, seq = first+done, max(seq, at)
		pace = nextPace(pace, held)
	}
	return out, seq, nil
}

// part is the end of the part of entries that begins at first, and how many signals it has: about so many as pace, at least one
// entry.
func part(entries []storage.Entry, first, pace int) (last, signals int) {
	for last = first; last < len(entries); last++ {
		n := max(1, len(entries[last].Signals)) // what has an error costs little, and not nothing
		if last > first && signals+n > pace {
			break
		}
		signals += n
	}
	return last, signals
}

// nextPace is how many signals the next part may have, after one of pace signals kept others out for so long.
func nextPace(pace int, held time.Duration) int {
	next := 2 * pace
	if held > 0 {
		next = min(next, int(time.Duration(pace)*(listedHold/2)/held))
	}
	return min(max(next, pace/4, leastListed), mostListed)
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
		ExpiresAt: milliseconds(item.ExpiresAt), Signals: item.Signals, Sources: sources,
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

// addListed stores entries in one transaction, but for those that have an error already: as many as there is time for, at least
// one. held is how long others have waited for it.
func (m *Matcher) addListed(ctx context.Context, who Principal, bank string, entries []storage.Entry, out []ListedOutcome) (done int, seq uint64, held time.Duration, err error) {
	var last *storage.Change
	var begun time.Time
	before := slices.Clone(out) // should the update be run again
	err = m.catalogue.Update(ctx, func(w storage.Writer) error {
		copy(out, before)
		begun, last = time.Now(), nil
		b, err := ownBank(w, who, bank)
		if err != nil {
			return err
		}
		l := &listWriter{Writer: w, bank: b.ID, with: map[hashing.Signal][]storage.EntryID{}, fresh: map[hashing.Signal]bool{}}
		if err := l.ask(entries); err != nil {
			return err
		}
		for done = 0; done < len(entries) && (done == 0 || time.Since(begun) < listedHold); done++ {
			if out[done].Err != nil {
				continue
			}
			draft, err := m.addOne(l, who, b, entries[done], &out[done])
			if err != nil {
				return err
			}
			last = cmp.Or(draft, last)
		}
		return l.flush()
	})
	held = time.Since(begun)
	if err != nil || last == nil {
		return done, 0, held, err
	}
	if m.o.Events.Flagged != nil {
		for _, o := range out[:done] {
			if o.Err == nil && !o.Same {
				m.o.Events.Flagged(o.Created)
			}
		}
	}
	return done, last.Seq, held, nil
}

// addOne adds an entry of a list to its bank, unless it tells in out why not. The change is nil if there is none.
func (m *Matcher) addOne(l *listWriter, who Principal, b storage.Bank, e storage.Entry, out *ListedOutcome) (*storage.Change, error) {
	had, same, err := hadListed(l, b, e)
	switch {
	case errors.Is(err, ErrTakenBack):
		*out = ListedOutcome{Noted: out.Noted, Err: err}
		return nil, nil
	case err != nil:
		return nil, err
	case same:
		*out = ListedOutcome{Entry: had.ID, Same: true, Noted: out.Noted}
		return nil, nil
	}
	fresh := e.Sources
	var more []storage.Source // behind the first, which addTo adds to an entry that the bank had
	if had != nil && !proposes(b, *had, e) {
		fresh = lacking(had.Sources, e.Sources)
		kept := fresh[:min(len(fresh), max(0, maxSources-len(had.Sources)))]
		first := min(len(kept), 1)
		e.Sources, more = kept[:first], kept[first:]
	}
	flagged := &Flagged{Bank: b}
	draft, err := m.addTo(l, flagged, Flagging{Who: who, Note: e.Note, Origin: origin(fresh)}, e, had)
	if err != nil {
		return nil, err
	}
	for _, s := range more {
		if err := l.AddSource(had.ID, s); err != nil {
			return nil, err
		}
	}
	*out = ListedOutcome{Entry: flagged.Entry.ID, Created: flagged.Created, Noted: out.Noted}
	if flagged.Created {
		l.waiting = append(l.waiting, waiting{&flagged.Entry, draft, out})
		return draft, nil
	}
	if err := l.flush(); err != nil { // the log has changes in the order of the list
		return nil, err
	}
	return draft, l.Append(draft)
}

// listWriter stores a part of a list in few steps, each of which may be a way to a database that is elsewhere: it asks for all signals
// at once, and creates entries together. To who uses it, it is a writer like others, but that entries which it creates have no number yet.
type listWriter struct {
	storage.Writer
	bank    storage.BankID
	with    map[hashing.Signal][]storage.EntryID // what the bank has, by what was asked: see [asked]
	created []*storage.Entry                     // that are to be created
	fresh   map[hashing.Signal]bool              // their signals
	waiting []waiting                            // for their numbers, likewise
}

type waiting struct {
	entry *storage.Entry
	draft *storage.Change
	out   *ListedOutcome
}

// asked is the part of a signal that a catalogue finds entries by.
func asked(s hashing.Signal) hashing.Signal {
	return hashing.Signal{Algorithm: s.Algorithm, Variant: s.Variant, Value: s.Value}
}

// ask reads which entries of the bank have signals of the list, of those by which media are told to be the same.
func (l *listWriter) ask(entries []storage.Entry) error {
	var all []hashing.Signal
	for _, e := range entries {
		for i, s := range e.Signals {
			if i > 0 && (s.Variant != hashing.Plain || s.Algorithm != hashing.SHA256 && s.Algorithm != hashing.PDQ) {
				continue
			}
			if s = asked(s); len(all) == storage.MaxEntries {
				break // those beyond are asked for when it is their turn
			}
			if _, had := l.with[s]; !had {
				l.with[s] = nil
				all = append(all, s)
			}
		}
	}
	with, err := l.Writer.EntriesWithAny(l.bank, all)
	for i, ids := range with {
		l.with[all[i]] = ids
	}
	return err
}

// EntriesWith implements [storage.Reader].
func (l *listWriter) EntriesWith(bank storage.BankID, s hashing.Signal) ([]storage.EntryID, error) {
	ids, known := l.with[asked(s)]
	if known && bank == l.bank && !l.fresh[asked(s)] {
		return ids, nil
	}
	if err := l.flush(); err != nil {
		return nil, err
	}
	return l.Writer.EntriesWith(bank, s)
}

// CreateEntry implements [storage.Writer]: flush does it.
func (l *listWriter) CreateEntry(e *storage.Entry) error {
	l.created = append(l.created, e)
	for _, s := range e.Signals {
		l.fresh[asked(s)] = true
	}
	return nil
}

// Extend implements [storage.Writer].
func (l *listWriter) Extend(id storage.EntryID, signals []hashing.Signal, media storage.MediaInfo) error {
	l.note(id, signals)
	return l.Writer.Extend(id, signals, media)
}

// note keeps what is known of the bank true.
func (l *listWriter) note(id storage.EntryID, signals []hashing.Signal) {
	for _, s := range signals {
		ids, known := l.with[asked(s)]
		if at, there := slices.BinarySearch(ids, id); known && !there {
			l.with[asked(s)] = slices.Insert(slices.Clone(ids), at, id)
		}
	}
}

// flush creates entries, appends their changes, and tells their numbers.
func (l *listWriter) flush() error {
	if len(l.created) == 0 {
		return nil
	}
	if err := l.Writer.CreateEntries(l.created); err != nil {
		return err
	}
	for _, w := range l.waiting {
		w.draft.Entry, w.out.Entry = w.entry.ID, w.entry.ID
		if err := l.Append(w.draft); err != nil {
			return err
		}
		l.note(w.entry.ID, w.entry.Signals)
	}
	l.created, l.waiting = nil, nil
	clear(l.fresh)
	return nil
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
				so.extend(b, *had, e, lacking(had.Sources, e.Sources))
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
	back = slices.DeleteFunc(back, func(o storage.Entry) bool { return o.Status == storage.Expired && e.ExpiresAt.After(o.ExpiresAt) })
	switch {
	case err != nil:
		return nil, false, err
	case len(back) > 0:
		return nil, false, fmt.Errorf("%w: entry %d, %s", ErrTakenBack, back[0].ID, back[0].Status)
	case had == nil:
		return nil, false, nil
	}
	sourced := len(had.Sources) >= maxSources || len(lacking(had.Sources, e.Sources)) == 0 // it takes no more than so many
	return had, sourced && includes(had.Signals, e.Signals) && !prolongs(b, *had, e), nil
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
