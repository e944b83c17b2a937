package matcher

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/storage"
)

// Videos turns the bytes of videos into frames.
type Videos interface {
	// Container names the format of a video by its first bytes; it is empty for all other media.
	Container(data []byte) string
	// Video hands each frame to fn, in the order that [hashing.Frame] tells, while the video is decoded, and
	// returns fn's error as it is. A video that cannot be decoded is a [*hashing.MediaError].
	Video(ctx context.Context, data []byte, o hashing.VideoOptions, fn func(hashing.Frame) error) (hashing.Video, error)
}

// The rule for videos. A frame within the radius is a match of two pictures, and yet one frame in
// common does not make two videos, nor a picture and a video, the same thing: it may be a title, a
// logo, a test card that thousands of others show too. So a hit on an entry of several frames is a Match if
//
//   - two frames of the upload match two frames of the entry that differ, each pair a second apart or more; or
//   - what matches is a tenth of the entry's time: short films and animations are known by any frame, and so
//     is a video that mostly shows one still;
//
// and otherwise Likely, which recommends to hold at most. An entry of one frame, such as a picture, is
// matched by every frame that shows it. The rule is the same for videos, pictures and lists of hashes.
const (
	framesApart  = 1000 // milliseconds
	notableShare = 10   // percent
	sameScene    = 10   // bits: frames within are one, as in vigie/hashing/video
)

const (
	// batchFrames are searched at a time, in one pass over the index; fewer when the first match ends
	// the decoding.
	batchFrames      = 64
	batchFramesFirst = 4
	// maxSightings bounds what is remembered of one check: 12 bytes each. Two hours that match everywhere
	// have some ten thousand.
	maxSightings = 1 << 20
	// maxTimedSignals is how many signals a list may have in which some have a time.
	maxTimedSignals = 10_000
	// maxTime bounds the time of a signal that somebody sends, in milliseconds: 24 days, so that sums of
	// times do not overflow.
	maxTime = math.MaxInt32
	// maxSpans bounds the spans of a match that a verdict lists.
	maxSpans = 100
	// DefaultMaxFrames is how many frames of a video an entry stores if its bank's policy does not say.
	DefaultMaxFrames = 600
	// MaxMaxFrames is the most that a policy may say.
	MaxMaxFrames = 10_000
)

// VPDQ are thresholds for vPDQ's two percentages, by which others call two videos a match.
type VPDQ struct{ QueryPercent, TargetPercent float64 }

// DefaultVPDQ is what python-threatexchange has (extensions/vpdq): 80 percent of the upload's frames.
func DefaultVPDQ() VPDQ { return VPDQ{QueryPercent: 80} }

// Frames counts the frames of a video, or the times of a list.
type Frames struct {
	Kept int // compared by a check, stored by a flag
	// Dropped are those that are too poor, of a video each stretch of them once, and those that are more than
	// the bank's policy stores.
	Dropped int
	Cut     bool // a limit, or the first match, ended the decoding before the video's end
}

// VideoMatch says how an upload and an entry of which one is a video match. The shares of an upload are
// of the part that was looked at; if it has several streams, of the one that shows the most of the entry.
type VideoMatch struct {
	Timeline
	SpansTotal int  // however many are listed
	Frames     int  // of the upload that match
	VPDQ       bool // by vPDQ's percentages and the thresholds asked for
}

// timed reports whether signals are frames of a video: one of them has a time.
func timed(signals []hashing.Signal) bool {
	return slices.ContainsFunc(signals, func(s hashing.Signal) bool { return s.Time > 0 })
}

// checkTimes guards the times of signals that callers send.
func checkTimes(signals []hashing.Signal) error {
	for i, s := range signals {
		if s.Time > maxTime {
			return invalid("signals", "number %d: time %d ms; accepted are 0 to %d", i, s.Time, maxTime)
		}
	}
	return nil
}

// container is the format of a video; empty for other media.
func (m *Matcher) container(media *hashing.Media) string {
	if media == nil || m.o.Videos == nil {
		return ""
	}
	return m.o.Videos.Container(media.Data)
}

// IsVideo reports whether data, of which the first bytes suffice, are of a video that goes to Videos.
func (m *Matcher) IsVideo(data []byte) bool {
	return m.o.Videos != nil && m.o.Videos.Container(data) != ""
}

// watch collects what is found of one upload, frame by frame. A picture is an upload of one frame.
type watch struct {
	state  *State
	scope  *Scope
	best   map[storage.EntryID]Found
	quiet  map[storage.EntryID]Found // hits that known-good entries outdo
	good   *Suppression              // the upload's very bytes are known good
	loud   bool                      // known-good entries are found like others, and suppress nothing
	seen   map[storage.EntryID][]sighting
	known  map[storage.EntryID]reel
	others []Track       // further streams of the upload
	listed int           // sightings
	took   time.Duration // of searching
}

type sighting struct {
	Sighting
	stream    int
	variant   hashing.Variant
	transform hashing.Transform
}

func newWatch(s *State, sc *Scope) *watch {
	return &watch{
		state: s, scope: sc, best: map[storage.EntryID]Found{}, quiet: map[storage.EntryID]Found{},
		seen: map[storage.EntryID][]sighting{}, known: map[storage.EntryID]reel{},
	}
}

// add searches for some frames, with all their renderings and transforms.
func (w *watch) add(ctx context.Context, asks []ask) error {
	if len(asks) == 0 {
		return nil
	}
	results, err := find(ctx, w.state, asks, w.scope.banks)
	if err != nil {
		return err
	}
	w.take(asks, results)
	return nil
}

// take judges what the index has answered.
func (w *watch) take(asks []ask, results []index.Result) {
	for i, r := range results {
		results[i].Hits = slices.DeleteFunc(r.Hits, func(hit index.Hit) bool { return w.beyond(asks[i], hit) })
	}
	w.hush(asks, results)
	for _, f := range gather(asks, results, w.state, w.scope) {
		w.keep(f)
	}
	nearest := map[pair]sighting{}
	for i, r := range results {
		if asks[i].Signal.Algorithm != hashing.PDQ {
			continue
		}
		for _, hit := range r.Hits {
			e, _, ok := asks[i].judge(hit, w.scope.by[storage.BankID(hit.Bank)].Policy)
			if !ok || e.Level != Match {
				continue // of the band, or a graphic that is not near enough
			}
			at := pair{asks[i].stream, asks[i].Signal.Time, hit.Time, hit.Entry}
			if had, ok := nearest[at]; !ok || hit.Distance < had.Distance {
				variant := cmp.Or(asks[i].Signal.Variant, hit.Variant)
				nearest[at] = sighting{Sighting{at.time, at.known, hit.Distance}, at.stream, variant, asks[i].Transform}
			}
		}
	}
	for at, s := range nearest {
		w.seen[storage.EntryID(at.entry)] = append(w.seen[storage.EntryID(at.entry)], s)
	}
	w.listed += len(nearest)
}

// beyond reports whether a hit is beyond the radius and on the first frame of a video: there is no band
// around frames. Those that follow are told by their time. An animation is a picture as well: its first
// frame has 64-bit hashes, which vote.
func (w *watch) beyond(a ask, hit index.Hit) bool {
	if !a.band || a.Signal.Algorithm != hashing.PDQ || hit.Time > 0 ||
		hit.Distance <= w.scope.by[storage.BankID(hit.Bank)].Policy.Radius[hashing.PDQ] {
		return false
	}
	known := w.reelOf(storage.EntryID(hit.Entry))
	return len(known.Times) > 1 && !known.animation
}

// pair is a frame of the upload and one of an entry.
type pair struct {
	stream      int
	time, known uint32
	entry       index.EntryID
}

// keep unites the evidence on an entry.
func (w *watch) keep(f Found) {
	had, ok := w.best[f.Entry]
	if !ok {
		w.best[f.Entry] = f
		return
	}
	for _, e := range f.All {
		i := slices.IndexFunc(had.All, func(o Evidence) bool { return o.Algorithm == e.Algorithm })
		switch {
		case i < 0:
			had.All = append(slices.Clip(had.All), e)
		case stronger(e, had.All[i]) < 0:
			had.All[i] = e
		}
	}
	w.best[f.Entry] = had.decided()
}

// decided puts the strongest evidence first.
func (f Found) decided() Found {
	slices.SortFunc(f.All, stronger)
	f.Evidence = f.All[0]
	return f
}

// reelOf are the frames of an entry.
func (w *watch) reelOf(id storage.EntryID) reel {
	r, ok := w.known[id]
	if !ok {
		values := func(a hashing.Algorithm) []hashing.Signal { return w.state.Snapshot.Values(a, index.EntryID(id)) }
		r = newReel(values(hashing.PDQ))
		r.animation = len(r.Times) > 1 && len(values(hashing.PHash))+len(values(hashing.DHash)) > 0
		w.known[id] = r
	}
	return r
}

// timesOf are when the frames of an entry are: of a picture, 0.
func (w *watch) timesOf(id storage.EntryID) []uint32 { return w.reelOf(id).Times }

// found is all that was found, strongest first, by the rule for videos.
func (w *watch) found(upload Track) []Found {
	all := make([]Found, 0, len(w.best))
	for id, f := range w.best {
		if seen := w.seen[id]; len(seen) > 0 && (w.moves(upload) || len(w.timesOf(id)) > 1) {
			f = f.withFrames(seen, w.reelOf(id))
		}
		all = append(all, f)
	}
	for id, f := range w.quiet {
		if _, ok := w.best[id]; !ok {
			f.Level = None
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b Found) int {
		return cmp.Or(stronger(a.Evidence, b.Evidence), cmp.Compare(a.Entry, b.Entry))
	})
	return all
}

// moves reports whether the upload has several frames.
func (w *watch) moves(upload Track) bool { return len(upload.Times) > 1 || len(w.others) > 0 }

// withFrames makes the PDQ evidence that of all frames: the transform is the one under which most of
// them match, the distance the least of these; and it is lowered where only a stray frame matches.
func (f Found) withFrames(seen []sighting, known reel) Found {
	f.All = slices.Clone(f.All)
	i := slices.IndexFunc(f.All, func(e Evidence) bool { return e.Algorithm == hashing.PDQ })
	e := &f.All[i]
	frames := map[hashing.Transform]int{e.Transform: 0}
	for _, s := range seen {
		if s.Distance <= e.Radius {
			frames[s.transform]++
		}
	}
	most := slices.MinFunc(slices.Collect(maps.Keys(frames)), func(a, b hashing.Transform) int {
		return cmp.Or(cmp.Compare(frames[b], frames[a]), cmp.Compare(a, b))
	})
	if most != e.Transform {
		e.Transform, e.Distance = most, hashing.PDQ.Bits()
		for _, s := range seen {
			if s.transform == most && s.Distance < e.Distance {
				e.Distance, e.Variant = s.Distance, s.variant
			}
		}
	}
	if e.Level == Match && stray(seen, known) {
		e.Level = Likely
	}
	return f.decided()
}

// stray reports whether what was seen of an entry with these frames does not suffice to know it: see the
// rule above.
func stray(seen []sighting, known reel) bool {
	if len(known.Times) <= 1 {
		return false
	}
	frames := map[uint32]bool{}
	marked := make([]bool, len(known.Times))
	for _, s := range seen {
		if i, ok := slices.BinarySearch(known.Times, s.Known); ok {
			frames[s.Known], marked[i] = true, true
		}
	}
	some, all := known.stand(marked)
	if known.gap() > bridge && !known.animation { // a few frames were stored of many: who knows what is between
		some = min(some, uint32(len(frames))*hold)
	}
	if 100*uint64(some) >= notableShare*uint64(all) {
		return false
	}
	seen = slices.DeleteFunc(slices.Clone(seen), func(s sighting) bool { return !frames[s.Known] })
	slices.SortFunc(seen, func(a, b sighting) int { return cmp.Compare(a.Time, b.Time) })
	type scene struct{ frame, first, last uint32 } // the times in the entry at which it was seen
	var scenes []scene
	sceneOf := map[uint32]int{}
	before := 0 // those at least framesApart before s
	for _, s := range seen {
		for ; seen[before].Time+framesApart <= s.Time; before++ {
			k := seen[before].Known
			c := &scenes[sceneOf[k]]
			c.first, c.last = min(c.first, k), max(c.last, k)
		}
		mine, ok := sceneOf[s.Known]
		if !ok {
			mine = slices.IndexFunc(scenes, func(c scene) bool { return within(known.at(c.frame), known.at(s.Known), sameScene) })
			if mine < 0 {
				mine = len(scenes)
				scenes = append(scenes, scene{frame: s.Known, first: math.MaxUint32})
			}
			sceneOf[s.Known] = mine
		}
		for i, c := range scenes {
			if i != mine && c.first <= c.last && (c.first+framesApart <= s.Known || s.Known+framesApart <= c.last) {
				return false
			}
		}
	}
	return true
}

// sure reports whether something found so far is a match.
func (w *watch) sure(upload Track) bool {
	return slices.ContainsFunc(w.found(upload), func(f Found) bool { return f.Counts() == Match })
}

// trackOf are the times of what is asked about; of a picture, 0.
func trackOf(asks []ask) (t Track) {
	for _, a := range asks {
		if a.Signal.Algorithm == hashing.PDQ {
			t.Times = append(t.Times, a.Signal.Time)
		}
	}
	slices.Sort(t.Times)
	t.Times = slices.Compact(t.Times)
	return t
}

// align adds to matches where the frames are, given how long the entries' media last, in milliseconds.
func (w *watch) align(found []Found, upload Track, durations map[storage.EntryID]uint32, asked *VPDQ) {
	least := DefaultVPDQ()
	if asked != nil {
		least = *asked
	}
	for i := range found {
		f := &found[i]
		known := w.reelOf(f.Entry).Track
		if len(w.seen[f.Entry]) == 0 || !w.moves(upload) && len(known.Times) <= 1 {
			continue
		}
		known.Duration = durations[f.Entry]
		v := &VideoMatch{}
		for _, stream := range append([]Track{upload}, w.others...) {
			var seen []Sighting
			frames := map[uint32]bool{}
			for _, s := range w.seen[f.Entry] {
				if s.stream == stream.stream {
					seen = append(seen, s.Sighting)
					frames[s.Time] = true
				}
			}
			t := Align(stream, known, seen)
			if cmp.Or(cmp.Compare(t.KnownShare, v.KnownShare), cmp.Compare(t.Share, v.Share)) > 0 {
				v.Timeline, v.Frames = t, len(frames)
			}
		}
		v.VPDQ = v.QueryPercent >= least.QueryPercent && v.TargetPercent >= least.TargetPercent
		v.SpansTotal = len(v.Spans)
		v.Spans = v.Spans[:min(len(v.Spans), maxSpans)]
		f.Video = v
	}
}

// errEnough ends the decoding of a video that need not be looked at any further.
var errEnough = errors.New("enough is known")

// view is what was seen of a video, or of a list of its frames.
type view struct {
	*watch
	track   Track   // of the last stream
	before  []Track // of the streams before it that show something
	frames  Frames
	video   hashing.Video
	signals []hashing.Signal // of the frames; only if asked for
}

// scan describes what of a video is wanted.
type scan struct {
	options hashing.VideoOptions
	first   bool                   // stop at the first match
	keep    bool                   // the signals
	against func() (*watch, error) // called when the first frames are to be searched
}

// watchVideo decodes a video and searches for its frames, some at a time, so that memory does not grow
// with its length. What could not be decoded is mediaErr.
func (m *Matcher) watchVideo(ctx context.Context, media *hashing.Media, s scan) (v view, mediaErr, err error) {
	var batch []ask
	waiting := 0
	flush := func() (err error) {
		if v.watch == nil {
			if v.watch, err = s.against(); err != nil {
				return err
			}
		}
		began := m.o.Now()
		err = v.add(ctx, batch)
		v.took += m.o.Now().Sub(began)
		batch, waiting = batch[:0], 0
		switch {
		case err != nil:
			return err
		case v.listed > maxSightings, s.first && v.sure(v.track):
			v.frames.Cut = true
			return errEnough
		}
		return nil
	}
	size := batchFrames
	if s.first {
		size = batchFramesFirst
	}
	v.video, err = m.o.Videos.Video(ctx, media.Data, s.options, func(f hashing.Frame) error {
		if f.Stream != v.track.stream {
			if len(v.track.Times) > 0 {
				if s.keep {
					return errEnough // what a player shows is flagged
				}
				v.before = append(v.before, v.track)
			}
			v.track = Track{stream: f.Stream}
		}
		if len(f.Signals) == 0 {
			v.track.cut(f.Time)
			v.frames.Dropped++
			return nil
		}
		v.frames.Kept++
		v.track.Times, v.track.Ends = append(v.track.Times, f.Time), append(v.track.Ends, 0)
		if s.keep {
			v.signals = append(v.signals, f.Signals...)
		}
		for _, q := range f.Queries {
			batch = append(batch, ask{Query: q, stream: f.Stream})
		}
		if waiting++; waiting < size {
			return nil
		}
		return flush()
	})
	if bad, ok := hashing.AsMediaError(err); ok {
		mediaErr, err = bad, nil
	}
	if err == nil || errors.Is(err, errEnough) {
		err = flush()
	}
	if err != nil && !errors.Is(err, errEnough) {
		return v, nil, err
	}
	v.frames.Cut = v.frames.Cut || v.video.Cut
	v.track.Duration = cmp.Or(v.video.Duration, hold)
	for _, t := range v.before {
		t.Duration = v.track.Duration
		v.watch.others = append(v.watch.others, t)
	}
	return v, mediaErr, nil
}

// watchList searches for a list of hashes of frames, some at a time.
func (m *Matcher) watchList(ctx context.Context, signals []hashing.Signal, s scan) (v view, err error) {
	v.signals, v.track, v.frames = framesOf(signals)
	if v.watch, err = s.against(); err != nil {
		return v, err
	}
	began := m.o.Now()
	defer func() { v.took = m.o.Now().Sub(began) }()
	size := batchFrames
	if s.first {
		size = batchFramesFirst
	}
	for part := range slices.Chunk(v.signals, size) {
		if err := v.add(ctx, askSignals(part, false)); err != nil {
			return v, err
		}
		if v.listed > maxSightings || s.first && v.sure(v.track) {
			v.frames.Cut = true
			break
		}
	}
	return v, nil
}

// framesOf are the signals of a list that can be matched, in order of time, and when they are. Frames that
// cannot be matched show nothing: what was shown before ends there.
func framesOf(signals []hashing.Signal) (rich []hashing.Signal, t Track, n Frames) {
	poorAt := map[uint32]bool{}
	for _, s := range signals {
		if poor(s) == nil {
			rich = append(rich, s)
		} else if s.Algorithm == hashing.PDQ {
			poorAt[s.Time] = true
		}
	}
	slices.SortStableFunc(rich, func(a, b hashing.Signal) int { return cmp.Compare(a.Time, b.Time) })
	times, _ := byTime(rich)
	t = newReel(rich).Track
	for _, at := range times {
		delete(poorAt, at)
	}
	for at := range poorAt {
		if i, _ := slices.BinarySearch(t.Times, at); i > 0 && at < t.end(i-1) {
			t.Ends[i-1] = at
		}
	}
	return rich, t, Frames{Kept: len(times), Dropped: len(poorAt)}
}

// checkVideo is Check for videos, and for lists of hashes of their frames.
func (m *Matcher) checkVideo(ctx context.Context, q Question, start time.Time) (Verdict, error) {
	if err := cmp.Or(checkSignals(q.Signals), checkTimes(q.Signals)); err != nil {
		return Verdict{}, err
	}
	out := Verdict{ContentID: q.ContentID}
	against := func() (*watch, error) {
		state, sc, err := m.known(ctx, q)
		if err != nil {
			return nil, err
		}
		out.about(state, sc)
		w := newWatch(state, sc)
		if q.Media == nil {
			return w, nil
		}
		return w, w.add(ctx, slices.Concat(askPlain(q.Media.Digests()), askSignals(usable(q.Signals), false)))
	}
	s := scan{options: q.Video, first: q.StopAtFirst, against: against}
	if s.options.PerSecond == 0 {
		s.options.PerSecond = hashing.CheckPerSecond
	}
	var v view
	var mediaErr, err error
	switch {
	case q.Media == nil:
		v, err = m.watchList(ctx, q.Signals, s)
	case q.StopAtFirst:
		if v.watch, err = against(); err == nil && v.sure(Track{}) {
			v.frames.Cut = true // the bytes are known: not a frame is needed
			break
		}
		fallthrough
	default:
		v, mediaErr, err = m.watchVideo(ctx, q.Media, s)
	}
	if err != nil {
		return Verdict{}, err
	}
	if q.Media != nil {
		out.Media = &storage.MediaInfo{
			SHA256: q.Media.SHA256, Bytes: int64(len(q.Media.Data)), Format: m.container(q.Media),
			Width: v.video.Width, Height: v.video.Height, Duration: v.video.Duration,
		}
		out.Signals = append(q.Media.Digests(), q.Signals...)
	}
	out.Frames = &v.frames
	switch bad, ok := hashing.AsMediaError(mediaErr); {
	case ok:
		out.Unhashable = &Unhashable{Reason: string(bad.Kind), Detail: bad.Detail}
	case v.frames.Kept == 0 && !v.frames.Cut:
		out.Unhashable = &Unhashable{Reason: string(hashing.LowQuality), Detail: noFrames}
	}
	found := v.found(v.track)
	if mediaErr != nil && len(found) == 0 {
		return Verdict{}, mediaErr
	}
	out.Timings = Timings{Search: v.took, Hash: m.o.Now().Sub(start) - v.took}
	return m.conclude(ctx, q, out, v.watch, v.track, found, start)
}

const noFrames = "no frame has enough detail (PDQ quality 50 or more) to be told from other pictures; only the exact bytes can be matched"

func usable(signals []hashing.Signal) []hashing.Signal {
	return slices.DeleteFunc(slices.Clone(signals), func(s hashing.Signal) bool { return poor(s) != nil })
}

// describeVideo is describe for videos, and for lists of hashes of their frames; and it finds the
// neighbours by the way.
func (m *Matcher) describeVideo(ctx context.Context, f Flagging, e *storage.Entry) (near []Found, n *Frames, err error) {
	if err := cmp.Or(checkSignals(f.Signals), checkTimes(f.Signals)); err != nil {
		return nil, nil, err
	}
	var bank storage.Bank
	err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		bank, err = ownBank(r, f.Who, f.Bank) // before minutes of decoding
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	s := scan{keep: true, against: func() (*watch, error) {
		state, err := m.loaded(ctx)
		if err != nil {
			return nil, err
		}
		w := newWatch(state, state.scope(f.Who.Party))
		w.loud = true
		return w, nil
	}}
	var v view
	if f.Media == nil {
		if f.ExactOnly {
			return nil, nil, invalid("exact_only", "it is for files; signals are matched as what they are")
		}
		v, err = m.watchList(ctx, f.Signals, s)
	} else {
		e.Media = storage.MediaInfo{SHA256: f.Media.SHA256, Bytes: int64(len(f.Media.Data)), Format: m.container(f.Media)}
		for _, s := range f.Signals {
			if d := digestOf(f.Media, s.Algorithm); d != nil && d.Value != s.Value {
				return nil, nil, invalid("signals", "the %s sent is not that of the file", s.Algorithm)
			}
		}
		var mediaErr error
		if v, mediaErr, err = m.watchVideo(ctx, f.Media, s); mediaErr != nil {
			return nil, nil, mediaErr
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if v.frames.Kept == 0 {
		return nil, nil, &UnhashableError{Reason: hashing.LowQuality, Detail: noFrames}
	}
	most := cmp.Or(bank.Policy.MaxFrames, DefaultMaxFrames)
	kept, ends := v.track.Times, []hashing.Signal(nil)
	if f.Media != nil {
		kept, ends = v.stored(most)
	}
	kept = thin(kept, most)
	v.frames.Dropped += v.frames.Kept - len(kept)
	v.frames.Kept = len(kept)
	if f.Media != nil {
		e.Media.Width, e.Media.Height, e.Media.Duration = v.video.Width, v.video.Height, v.video.Duration
		e.Signals = f.Media.Digests()
		v.signals = append(v.signals, usable(f.Signals)...)
		if err := v.add(ctx, askPlain(f.Media.Digests())); err != nil {
			return nil, nil, err
		}
	}
	for _, s := range v.signals {
		if _, ok := slices.BinarySearch(kept, s.Time); ok || s.Algorithm != hashing.PDQ {
			e.Signals = append(e.Signals, s)
		}
	}
	e.Signals = append(e.Signals, ends...)
	e.Signals = distinct(e.Signals)
	return v.found(v.track), &v.frames, nil
}

// stored chooses the frames of a video that an entry stores, if they are no more than most, and returns
// when they are. An entry has nothing but frames, each of which stands until the next one. So where nothing
// was shown for a while before that, the frame is stored once more, a second before it ended: [newReel]
// knows it by that. If there is no room for all these ends there are none.
func (v view) stored(most int) (times []uint32, ends []hashing.Signal) {
	var again []uint32 // frames that differ from the one before by nothing but the pause
	var last []hashing.Signal
	var until uint32
	pause := func(next uint32) bool {
		if len(last) == 0 || next <= until+bridge {
			return false
		}
		end := last[0]
		end.Time = max(end.Time+1, until-min(until, hold))
		ends = append(ends, end)
		return true
	}
	_, frames := byTime(v.signals)
	for i, at := range v.track.Times {
		same := at > until && within(last, frames[at], sameScene)
		if same {
			again = append(again, at)
		}
		if paused := pause(at); paused || !same {
			times, last = append(times, at), frames[at]
		}
		until = v.track.end(i)
	}
	pause(v.track.Duration)
	if len(times)+len(ends) <= most {
		return times, ends
	}
	return slices.DeleteFunc(times, func(t uint32) bool { return slices.Contains(again, t) }), nil
}

// thin leaves out moments until most are left, so that they lie as evenly as they can: each time the
// one goes whose neighbours are nearest to each other. The first and the last stay.
func thin(times []uint32, most int) []uint32 {
	if len(times) <= most || most < 2 {
		return times[:min(len(times), most)]
	}
	t := thinner{times: times}
	for i := range times {
		t.before, t.after = append(t.before, i-1), append(t.after, i+1)
		t.place = append(t.place, -1)
	}
	for i := 1; i < len(times)-1; i++ {
		heap.Push(&t, i)
	}
	gone := make([]bool, len(times))
	for left := len(times); left > most; left-- {
		i := heap.Pop(&t).(int)
		gone[i] = true
		b, a := t.before[i], t.after[i]
		t.after[b], t.before[a] = a, b
		for _, j := range []int{b, a} {
			if t.place[j] >= 0 {
				heap.Fix(&t, t.place[j])
			}
		}
	}
	kept := make([]uint32, 0, most)
	for i, time := range times {
		if !gone[i] {
			kept = append(kept, time)
		}
	}
	return kept
}

// thinner is a heap of moments by how far apart their neighbours are.
type thinner struct {
	times         []uint32
	before, after []int // neighbours among those left
	order         []int
	place         []int // in order; -1 if not there
}

func (t *thinner) Len() int { return len(t.order) }

func (t *thinner) Less(a, b int) bool {
	gap := func(i int) uint32 { return t.times[t.after[i]] - t.times[t.before[i]] }
	i, j := t.order[a], t.order[b]
	return cmp.Or(cmp.Compare(gap(i), gap(j)), cmp.Compare(i, j)) < 0
}

func (t *thinner) Swap(a, b int) {
	t.order[a], t.order[b] = t.order[b], t.order[a]
	t.place[t.order[a]], t.place[t.order[b]] = a, b
}

func (t *thinner) Push(x any) {
	t.place[x.(int)] = len(t.order)
	t.order = append(t.order, x.(int))
}

func (t *thinner) Pop() any {
	i := t.order[len(t.order)-1]
	t.order = t.order[:len(t.order)-1]
	t.place[i] = -1
	return i
}

// checkVideoPolicy guards the part of a policy that is about videos.
func checkVideoPolicy(p storage.Policy) error {
	if p.MaxFrames != 0 && (p.MaxFrames < 2 || p.MaxFrames > MaxMaxFrames) {
		return invalid("max_frames", "%d; accepted are 2 to %d", p.MaxFrames, MaxMaxFrames)
	}
	return nil
}

// checkVPDQ guards the thresholds of a question.
func checkVPDQ(v *VPDQ) error {
	if v == nil {
		return nil
	}
	for name, p := range map[string]float64{"query_percent": v.QueryPercent, "target_percent": v.TargetPercent} {
		if !(p >= 0 && p <= 100) {
			return invalid(name, "%s; accepted are 0 to 100", fmt.Sprint(p))
		}
	}
	return nil
}
