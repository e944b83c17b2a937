package api

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// Between the contract's types and the matcher's. Names end in In or Out by their direction.

func or[T any](p *T, otherwise T) T {
	if p != nil {
		return *p
	}
	return otherwise
}

// some points to v, or is nil if v is zero: left out of the answer.
func some[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// list splits the value of a form part at commas.
func list(s string) []string {
	var out []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

func signalsIn(in []v1.Signal) ([]hashing.Signal, error) {
	out := make([]hashing.Signal, 0, len(in))
	for i, s := range in {
		signal, err := hashing.ParseParts(string(s.Algorithm), string(or(s.Variant, "")), s.Value)
		if err != nil {
			return nil, fmt.Errorf("signal %d: %w", i+1, err)
		}
		if s.Quality != nil && !signal.Algorithm.Exact() {
			signal.Quality = hashing.Quality(*s.Quality)
		}
		signal.Time = uint32(or(s.TimeMs, 0))
		out = append(out, signal)
	}
	return out, nil
}

func signalsOut(in []hashing.Signal) []v1.Signal {
	out := make([]v1.Signal, 0, len(in))
	for _, s := range in {
		variant := v1.Variant(s.Variant.String())
		signal := v1.Signal{Algorithm: v1.Algorithm(s.Algorithm.String()), Variant: &variant, Value: s.Hex()}
		if s.Quality != hashing.QualityUnknown {
			q := int(s.Quality)
			signal.Quality = &q
		}
		signal.TimeMs = some(int64(s.Time))
		out = append(out, signal)
	}
	return out
}

func radiusIn(in v1.Radius) (map[hashing.Algorithm]int, error) {
	out := make(map[hashing.Algorithm]int, len(in))
	for name, r := range in {
		a, err := hashing.ParseAlgorithm(name)
		if err != nil {
			return nil, refuse(pInvalid, "radius: %v", err)
		}
		out[a] = r
	}
	return out, nil
}

// bankEditIn reads what a new bank and a change of one have in common.
func bankEditIn(in v1.BankChange) (matcher.BankEdit, error) {
	e := matcher.BankEdit{
		Name: in.Name, Description: in.Description, Action: (*string)(in.Action), KeepMedia: in.KeepMedia, MaxFrames: in.MaxFrames,
		EnabledRatio: in.EnabledRatio, MinQuality: in.MinQuality, Link: in.Link, Flood: in.Flood,
		Members: in.Members, Open: in.Open, Dual: in.Dual,
	}
	if v := in.SecondVote; v != nil {
		e.SecondVote = matcher.SecondVoteEdit{Radius: v.Radius, Far: v.Far, PHash: v.Phash, DHash: v.Dhash, Graphic: v.Graphic}
	}
	if o := in.Overturn; o != nil {
		e.Overturn = &storage.Overturn{Rate: o.Rate, Min: o.Min}
	}
	if in.Radius != nil {
		r, err := radiusIn(*in.Radius)
		if err != nil {
			return e, err
		}
		e.Radius = &r
	}
	return e, nil
}

// names are what parties and banks are called by who asks, by their numbers.
type names struct {
	parties map[storage.PartyID]string
	banks   map[storage.BankID]string
}

func namesIn(ctx context.Context, r storage.Reader) (names, error) {
	n := names{map[storage.PartyID]string{}, map[storage.BankID]string{}}
	parties, err := r.Parties()
	if err != nil {
		return n, err
	}
	for _, p := range parties {
		n.parties[p.ID] = p.Name
	}
	banks, err := r.Banks()
	for _, b := range banks {
		n.banks[b.ID] = matcher.Called(who(ctx).Party, b, n.parties[b.Owner])
	}
	return n, err
}

// banksIn are all banks by number, named as who asks calls them.
func banksIn(ctx context.Context, r storage.Reader) (map[storage.BankID]storage.Bank, error) {
	called, err := namesIn(ctx, r)
	if err != nil {
		return nil, err
	}
	all, err := r.Banks()
	banks := map[storage.BankID]storage.Bank{}
	for _, b := range all {
		b.Name = called.banks[b.ID]
		banks[b.ID] = b
	}
	return banks, err
}

// names reads what parties and banks are called now.
func (s *Server) names(ctx context.Context) (n names, err error) {
	err = s.catalogue.View(ctx, func(r storage.Reader) (err error) {
		n, err = namesIn(ctx, r)
		return err
	})
	return n, err
}

func (n names) members(ids []storage.PartyID) []v1.PartyName {
	out := make([]v1.PartyName, 0, len(ids))
	for _, id := range ids {
		out = append(out, n.parties[id])
	}
	return out
}

func radiusOut(in map[hashing.Algorithm]int) v1.Radius {
	out := v1.Radius{}
	for a, r := range in {
		out[a.String()] = r
	}
	return out
}

func policyOut(p storage.Policy) v1.Policy {
	return v1.Policy{
		Action: v1.Action(p.Action), Radius: radiusOut(p.Radius), KeepMedia: p.KeepMedia,
		MaxFrames: some(cmp.Or(p.MaxFrames, matcher.DefaultMaxFrames)),
		SecondVote: v1.SecondVote{
			Radius: p.SecondVote.Radius, Far: p.SecondVote.Far, Phash: p.SecondVote.PHash, Dhash: p.SecondVote.DHash, Graphic: p.SecondVote.Graphic,
		},
		EnabledRatio: or(p.EnabledRatio, 1), MinQuality: p.MinQuality, Link: some(p.Link), Flood: p.Flood,
		Overturn: v1.Overturn{Rate: p.Overturn.Rate, Min: p.Overturn.Min},
	}
}

func bankOut(b storage.Bank, called names) v1.Bank {
	return v1.Bank{
		Id: int64(b.ID), Name: b.Name, Description: b.Description, Kind: v1.BankKind(b.Kind), Owner: called.parties[b.Owner],
		Members: called.members(b.Members), Open: b.Open, Dual: b.Dual, Policy: policyOut(b.Policy),
		Proposal: proposalOut(b.Proposal, called), Deleted: b.Deleted, CreatedAt: b.CreatedAt, Seq: int64(b.Seq),
	}
}

func proposalOut(p *storage.Proposal, called names) *v1.Proposal {
	if p == nil {
		return nil
	}
	out := &v1.Proposal{Kind: string(p.Kind), Actor: p.Actor, At: p.At, Reason: some(p.Reason)}
	if p.Kind == storage.EntryChanged {
		labels := labelsOut(p.Labels)
		out.Labels, out.ExpiresAt = &labels, someTime(p.ExpiresAt)
	}
	if b := p.Bank; b != nil {
		out.Bank = &v1.ProposedBank{
			Name: b.Name, Description: b.Description, Members: called.members(b.Members), Open: b.Open, Dual: b.Dual,
			Policy: policyOut(b.Policy), Deleted: b.Deleted,
		}
	}
	return out
}

func mediaOut(m storage.MediaInfo) *v1.MediaInfo {
	if m == (storage.MediaInfo{}) {
		return nil
	}
	return &v1.MediaInfo{
		Bytes: m.Bytes, Format: some(m.Format), Width: some(m.Width), Height: some(m.Height),
		DurationMs: some(int64(m.Duration)), Kept: some(m.Kept),
	}
}

func entryOut(e storage.Entry, bank storage.Bank) v1.Entry {
	out := v1.Entry{
		Id: int64(e.ID), Bank: bank.Name, BankDeleted: some(bank.Deleted), Status: v1.Status(e.Status), ExactOnly: e.ExactOnly,
		Signals: signalsOut(e.Signals), Labels: labelsOut(e.Labels), Note: e.Note, Reason: some(e.Reason),
		Media: mediaOut(e.Media), CreatedAt: e.CreatedAt, ExpiresAt: someTime(e.ExpiresAt), Seq: int64(e.Seq), Sources: []v1.Source{},
		Proposal: proposalOut(e.Proposal, names{}), // of an entry: it names nobody
	}
	for _, s := range e.Sources {
		out.Sources = append(out.Sources, v1.Source{At: s.At, Actor: s.Actor, Origin: some(s.Origin), List: some(s.List), ForeignId: some(s.Foreign)})
	}
	return out
}

func labelsOut(labels []string) v1.Labels { return append(v1.Labels{}, labels...) }

func keyOut(k storage.Key, called names) v1.Key {
	return v1.Key{
		Id: k.ID, Name: k.Name, Role: v1.Role(k.Role), Party: called.parties[k.Party], CreatedAt: k.CreatedAt, Seq: int64(k.Seq),
		ExpiresAt: someTime(k.ExpiresAt), RevokedAt: someTime(k.RevokedAt),
	}
}

func someTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// RenderVerdict is a verdict as a check answers it.
func RenderVerdict(v matcher.Verdict) ([]byte, error) { return json.Marshal(verdictOut(v)) }

func verdictOut(v matcher.Verdict) v1.Verdict {
	out := v1.Verdict{
		Level: v1.Level(v.Level.String()), Action: v1.Recommendation(v.Action.String()),
		Matches: []v1.Match{}, MatchesTotal: v.MatchesTotal, Banks: v.Banks, ContentId: some(v.ContentID),
		Signals: signalsOut(v.Signals), IndexSeq: int64(v.IndexSeq), StalenessMs: new(v.Staleness.Milliseconds()), LogId: v.LogID, Link: some(v.Link),
		Unrecorded: some(v.Unrecorded), Unkept: some(v.Unkept),
		Timings: v1.Timings{
			Hash: millis(v.Timings.Hash), Search: millis(v.Timings.Search),
			Explain: millis(v.Timings.Explain), Total: millis(v.Timings.Total),
		},
	}
	if v.Media != nil {
		out.Media = mediaOut(*v.Media)
	}
	if v.MatchID != (storage.MatchID{}) {
		out.Match = some(v.MatchID.String())
	}
	if len(v.Skipped) > 0 {
		out.Skipped = &v.Skipped
	}
	out.Graphic, out.Unexplained = some(v.Graphic), some(v.Unexplained)
	if f := v.Frames; f != nil {
		out.Frames = &v1.ComparedFrames{Compared: f.Kept, Dropped: f.Dropped, Cut: f.Cut}
	}
	if v.Unhashable != nil {
		out.Unhashable = &v1.Unhashable{Reason: v.Unhashable.Reason, Detail: some(v.Unhashable.Detail)}
	}
	for _, f := range v.Matches {
		m := v1.Match{
			Entry: int64(f.Entry), Bank: f.Bank.Name, Level: v1.Level(f.Level.String()),
			Action: v1.Recommendation(f.Action.String()), Algorithm: v1.Algorithm(f.Algorithm.String()),
			Variant: v1.Variant(f.Variant.String()), Distance: f.Distance, Radius: f.Radius,
			Transform: v1.Transform(f.Transform.String()), Vote: voteOut(f.Vote), Video: videoOut(f.Video), Labels: labelsOut(f.Labels),
			Opinions: tallyOut(f.Tally), Test: some(f.Bank.Kind == storage.TestBank), Flooded: some(f.Flooded),
		}
		if len(f.Limits) > 0 {
			m.Limits = &[]v1.Limit{}
			for _, l := range f.Limits {
				*m.Limits = append(*m.Limits, v1.Limit(l))
			}
		}
		if by := f.SuppressedBy; by != nil {
			m.SuppressedBy = &v1.Suppression{
				Entry: int64(by.Entry), Bank: by.Bank, Algorithm: v1.Algorithm(by.Algorithm.String()), Distance: by.Distance,
			}
		}
		for _, e := range f.All {
			m.Evidence = append(m.Evidence, v1.Evidence{
				Algorithm: v1.Algorithm(e.Algorithm.String()), Variant: v1.Variant(e.Variant.String()),
				Distance: e.Distance, Radius: e.Radius, Transform: v1.Transform(e.Transform.String()),
				Level: v1.Level(e.Level.String()), Vote: voteOut(e.Vote),
			})
		}
		out.Matches = append(out.Matches, m)
	}
	return out
}

// tallyOut is nil for one that was not counted.
func tallyOut(t matcher.Tally) *v1.Tally {
	if t.Standing == "" {
		return nil
	}
	return &v1.Tally{Agree: t.Agree, Disagree: t.Disagree, Saw: t.Saw, Standing: v1.Standing(t.Standing)}
}

func voteOut(v *matcher.Vote) *v1.Vote {
	if v == nil {
		return nil
	}
	return &v1.Vote{Algorithm: v1.Algorithm(v.Algorithm.String()), Distance: v.Distance, Radius: v.Radius, Agrees: v.Agrees}
}

// millis is a duration in milliseconds, to the microsecond.
func millis(d time.Duration) float32 { return float32(d.Microseconds()) / 1000 }

func flaggedOut(f matcher.Flagged) v1.Flagged {
	out := v1.Flagged{
		Entry: entryOut(f.Entry, f.Bank), Created: f.Created, Seq: int64(f.Seq), Matchable: f.Matchable,
		Retracted: []v1.RetractedEntry{}, Neighbours: []v1.Neighbour{},
	}
	if n := f.Frames; n != nil {
		out.Frames = &v1.StoredFrames{Kept: n.Kept, Dropped: n.Dropped, Cut: n.Cut}
	}
	for _, r := range f.Retracted {
		out.Retracted = append(out.Retracted, v1.RetractedEntry{Entry: int64(r.ID), Reason: r.Reason})
	}
	for _, n := range f.Neighbours {
		out.Neighbours = append(out.Neighbours, v1.Neighbour{
			Entry: int64(n.Entry), Bank: n.Bank.Name, Algorithm: v1.Algorithm(n.Algorithm.String()),
			Variant: v1.Variant(n.Variant.String()), Distance: n.Distance, Transform: v1.Transform(n.Transform.String()),
		})
	}
	return out
}

func changeOut(c storage.Change) v1.Change {
	out := v1.Change{
		Seq: int64(c.Seq), At: c.At, Kind: string(c.Kind), Actor: c.Actor, Key: some(c.Key),
		Bank: some(int64(c.Bank)), Entry: some(int64(c.Entry)), Party: some(int64(c.Party)), Body: json.RawMessage(c.Body),
		Private: json.RawMessage(c.Private), Root: hex.EncodeToString(c.Root[:]), Record: string(c.Record),
	}
	if len(c.Salt) > 0 {
		out.Salt = some(hex.EncodeToString(c.Salt))
	}
	if c.Leaf != nil {
		out.Leaf = some(hex.EncodeToString(c.Leaf[:]))
	}
	return out
}

// A cursor is opaque to callers: today a number of the last item of the page.
func cursorOut[N ~uint64](last N) string { return strconv.FormatUint(uint64(last), 36) }

func cursorIn[N ~uint64](s *string) (N, error) {
	if s == nil {
		return 0, nil
	}
	last, err := strconv.ParseUint(*s, 36, 63)
	if err != nil {
		return 0, refuse(pInvalid, "query parameter cursor: %q; accepted is the next of another page", *s)
	}
	return N(last), nil
}
