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
	// Video hands each frame to fn, in order of time, while the video is decoded, and returns fn's
	// error as it is. A video that cannot be decoded is a [*hashing.MediaError].
	Video(ctx context.Context, data []byte, o hashing.VideoOptions, fn func(hashing.Frame) error) (hashing.Video, error)
}

// The rule for videos. A frame within the radius is a match of two pictures, and yet one frame in
// common does not make two videos, nor a picture and a video, the same thing: it may be a title, a
// logo, a test card that thousands of others show too. So a hit on an entry of several frames is a Match if
//
//   - two frames of the upload match two frames of the entry, each pair a second apart or more; or
//   - what matches is a tenth of the entry's frames: short films and animations are known by any frame;
//
// and otherwise Likely, which recommends to hold at most. An entry of one frame, such as a picture, is
// matched by every frame that shows it. The rule is the same for videos, pictures and lists of hashes.
const (
	framesApart  = 1000 // milliseconds
	notableShare = 10   // percent
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
	Kept    int  // compared by a check, stored by a flag
	Dropped int  // of those that were hashed: too poor, or more than the bank's policy stores
	Cut     bool // a limit, or the first match, ended the decoding before the video's end
}

// VideoMatch says how an upload and an entry of which one is a video match. The shares of an upload are
// of the part that was looked at.
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
	banks  []storage.Bank
	best   map[storage.EntryID]Found
	seen   map[storage.EntryID][]sighting
	known  map[storage.EntryID][]uint32 // when the entries' frames are
	listed int                          // sightings
	took   time.Duration                // of searching
}

type sighting struct {
	Sighting
	variant   hashing.Variant
	transform hashing.Transform
}

func newWatch(s *State, banks []storage.Bank) *watch {
	return &watch{
		state: s, banks: banks, best: map[storage.EntryID]Found{},
		seen: map[storage.EntryID][]sighting{}, known: map[storage.EntryID][]uint32{},
	}
}

// add searches for some frames, with all their renderings and transforms.
func (w *watch) add(ctx context.Context, asks []ask) error {
	if len(asks) == 0 {
		return nil
	}
	results, err := find(ctx, w.state, asks, w.banks)
	if err != nil {
		return err
	}
	for _, f := range gather(asks, results, w.state) {
		w.keep(f)
	}
	nearest := map[pair]sighting{}
	for i, r := range results {
		if asks[i].Signal.Algorithm != hashing.PDQ {
			continue
		}
		for _, hit := range r.Hits {
			e, _, ok := asks[i].judge(hit, w.state.Banks[storage.BankID(hit.Bank)].Policy)
			if !ok || e.Level != Match {
				continue // of the band, or a graphic that is not near enough
			}
			at := pair{asks[i].Signal.Time, hit.Time, hit.Entry}
			if had, ok := nearest[at]; !ok || hit.Distance < had.Distance {
				variant := cmp.Or(asks[i].Signal.Variant, hit.Variant)
				nearest[at] = sighting{Sighting{at.time, at.known, hit.Distance}, variant, asks[i].Transform}
			}
		}
	}
	for at, s := range nearest {
		w.seen[storage.EntryID(at.entry)] = append(w.seen[storage.EntryID(at.entry)], s)
	}
	w.listed += len(nearest)
	return nil
}

// pair is a frame of the upload and one of an entry.
type pair struct {
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

// decided puts the strongest evidence first, and draws the conclusions.
func (f Found) decided() Found {
	slices.SortFunc(f.All, stronger)
	action, _ := ParseAction(f.Bank.Policy.Action) // validated when it was stored
	f.Evidence, f.Action = f.All[0], action.atLevel(f.All[0].Level)
	return f
}

// timesOf are when the frames of an entry are: of a picture, 0.
func (w *watch) timesOf(id storage.EntryID) []uint32 {
	times, ok := w.known[id]
	if !ok {
		for _, s := range w.state.Snapshot.Values(hashing.PDQ, index.EntryID(id)) {
			times = append(times, s.Time)
		}
		slices.Sort(times)
		times = slices.Compact(times)
		w.known[id] = times
	}
	return times
}

// found is all that was found, strongest first, by the rule for videos.
func (w *watch) found(upload Track) []Found {
	all := make([]Found, 0, len(w.best))
	for id, f := range w.best {
		if seen := w.seen[id]; len(seen) > 0 && (len(upload.Times) > 1 || len(w.timesOf(id)) > 1) {
			f = f.withFrames(seen, w.timesOf(id))
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b Found) int {
		return cmp.Or(stronger(a.Evidence, b.Evidence), cmp.Compare(a.Entry, b.Entry))
	})
	return all
}

// withFrames makes the PDQ evidence that of all frames: the transform is the one under which most of
// them match, the distance the least of these; and it is lowered where only a stray frame matches.
func (f Found) withFrames(seen []sighting, times []uint32) Found {
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
	if e.Level == Match && stray(seen, times) {
		e.Level = Likely
	}
	return f.decided()
}

// stray reports whether what was seen of an entry with frames at these times does not suffice to know
// it: see the rule above.
func stray(seen []sighting, times []uint32) bool {
	known := map[uint32]bool{}
	for _, s := range seen {
		known[s.Known] = true
	}
	if len(times) <= 1 || 100*len(known) >= notableShare*len(times) {
		return false
	}
	seen = slices.SortedFunc(slices.Values(seen), func(a, b sighting) int { return cmp.Compare(a.Time, b.Time) })
	before := 0 // those at least framesApart before s
	var first, last uint32
	for _, s := range seen {
		for ; seen[before].Time+framesApart <= s.Time; before++ {
			k := seen[before].Known
			if before == 0 {
				first, last = k, k
			}
			first, last = min(first, k), max(last, k)
		}
		if before > 0 && (first+framesApart <= s.Known || s.Known+framesApart <= last) {
			return false
		}
	}
	return true
}

// sure reports whether something found so far is a match.
func (w *watch) sure(upload Track) bool {
	return slices.ContainsFunc(w.found(upload), func(f Found) bool { return f.Level == Match })
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
		times := w.timesOf(f.Entry)
		all := w.seen[f.Entry]
		if len(all) == 0 || len(upload.Times) <= 1 && len(times) <= 1 {
			continue
		}
		seen := make([]Sighting, len(all))
		frames := map[uint32]bool{}
		for k, s := range all {
			seen[k] = s.Sighting
			frames[s.Time] = true
		}
		v := &VideoMatch{Timeline: Align(upload, Track{Times: times, Duration: durations[f.Entry]}, seen), Frames: len(frames)}
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
	track   Track
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
	v.track.Dense = s.options.PerSecond > 1
	v.video, err = m.o.Videos.Video(ctx, media.Data, s.options, func(f hashing.Frame) error {
		if n := len(v.track.Times); n > 0 && f.Time <= v.track.Times[n-1] {
			return nil // two frames at one time are one too many
		}
		v.track.Times = append(v.track.Times, f.Time)
		if s.keep {
			v.signals = append(v.signals, f.Signals...)
		}
		for _, q := range f.Queries {
			batch = append(batch, ask{Query: q, graphic: f.Graphic})
		}
		if waiting++; waiting < size {
			return nil
		}
		return flush()
	})
	if bad, ok := hashing.AsMediaError(err); ok {
		mediaErr, err = bad, nil
	}
	if err == nil {
		err = flush()
	}
	if err != nil && !errors.Is(err, errEnough) {
		return v, nil, err
	}
	v.frames.Kept = len(v.track.Times)
	v.frames.Cut = v.frames.Cut || v.video.Cut
	v.track.Duration = cmp.Or(v.video.Duration, hold)
	return v, mediaErr, nil
}

// watchList searches for a list of hashes of frames, some at a time.
func (m *Matcher) watchList(ctx context.Context, signals []hashing.Signal, s scan) (v view, err error) {
	v.signals, v.track.Times, v.frames = framesOf(signals)
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

// framesOf are the signals of a list that can be matched, in order of time, and their times.
func framesOf(signals []hashing.Signal) (rich []hashing.Signal, times []uint32, n Frames) {
	all := map[uint32]bool{}
	for _, s := range signals {
		if s.Algorithm == hashing.PDQ {
			all[s.Time] = true
		}
		if poor(s) == nil {
			rich = append(rich, s)
		}
	}
	slices.SortStableFunc(rich, func(a, b hashing.Signal) int { return cmp.Compare(a.Time, b.Time) })
	for _, s := range rich {
		if s.Algorithm == hashing.PDQ {
			times = append(times, s.Time)
		}
	}
	times = slices.Compact(times)
	return rich, times, Frames{Kept: len(times), Dropped: len(all) - len(times)}
}

// checkVideo is Check for videos, and for lists of hashes of their frames.
func (m *Matcher) checkVideo(ctx context.Context, q Question, start time.Time) (Verdict, error) {
	if err := cmp.Or(checkSignals(q.Signals), checkTimes(q.Signals)); err != nil {
		return Verdict{}, err
	}
	out := Verdict{ContentID: q.ContentID}
	against := func() (*watch, error) {
		state, banks, err := m.known(ctx, q)
		if err != nil {
			return nil, err
		}
		out.IndexSeq, out.LogID, out.Banks = state.Seq, state.LogID, len(banks)
		w := newWatch(state, banks)
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
		bank, err = liveBank(r, f.Bank) // before minutes of decoding
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
		banks, err := state.scope(nil)
		return newWatch(state, banks), err
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
	kept := thin(v.track.Times, cmp.Or(bank.Policy.MaxFrames, DefaultMaxFrames))
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
	e.Signals = distinct(e.Signals)
	near = v.found(v.track)
	return near[:min(len(near), maxNeighbours+1)], &v.frames, nil
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
