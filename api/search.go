package api

import (
	"context"
	"errors"
	"strconv"
	"time"

	v1 "vigie/api/v1"
	"vigie/index/text"
	"vigie/matcher"
	"vigie/storage"
)

// searches reports whether a listing asks for what only a search can answer.
func searches(p v1.ListEntriesParams) bool {
	return p.Q != nil || p.Source != nil || p.From != nil || p.Until != nil || p.Sort != nil || p.Facets != nil || p.MinSeq != nil || or(p.Highlight, false)
}

// searchEntries answers GET /v1/entries for words.
func (s *Server) searchEntries(ctx context.Context, p v1.ListEntriesParams) (v1.ListEntriesResponseObject, error) {
	if or(p.Waiting, false) {
		return nil, refuse(pInvalid, "query parameter waiting: not in a search; accepted is status=proposed")
	}
	q := matcher.TextQuery{Bank: or(p.Bank, ""), MinSeq: uint64(or(p.MinSeq, 0)), Text: text.Query{
		Text: or(p.Q, ""), Status: string(or(p.Status, "")), Label: or(p.Label, ""), Source: or(p.Source, ""),
		From: or(p.From, time.Time{}), To: or(p.Until, time.Time{}), Cursor: or(p.Cursor, ""), Limit: or(p.Limit, 100),
		Highlight: or(p.Highlight, false),
	}}
	if or(p.Sort, v1.Score) == v1.Newest {
		q.Text.Sort = text.Newest
	}
	for _, f := range or(p.Facets, nil) {
		q.Text.Facets = append(q.Text.Facets, string(f))
	}
	found, err := s.matcher.SearchText(ctx, who(ctx), q)
	if errors.Is(err, context.DeadlineExceeded) {
		// The same would take as long at once, and the node has others to search for.
		return nil, &refusal{
			is: pOverloaded, retry: 30 * time.Second,
			detail: "the search took too long and was ended; ask for less at once: rarer words, longer beginnings, no facets",
		}
	}
	if err != nil {
		return nil, err
	}
	var banks map[storage.BankID]storage.Bank
	var counters map[storage.EntryID]storage.Counters
	err = s.catalogue.View(ctx, func(r storage.Reader) (err error) {
		if banks, err = banksIn(ctx, r); err != nil {
			return err
		}
		counters, err = matcher.CountersOf(r, who(ctx), found.Entries)
		return err
	})
	if err != nil {
		return nil, err
	}
	total, seq := int64(found.Total), int64(found.Seq) // said even if 0
	out := v1.ListEntries200JSONResponse{
		Entries: []v1.Entry{}, Next: some(found.Next), Total: &total, IndexSeq: &seq,
		Found: &[]v1.FoundText{},
	}
	for i, e := range found.Entries {
		one := listedOut(e, banks[e.Bank])
		if err := s.beside(ctx, &one, counters[e.ID]); err != nil {
			return nil, err
		}
		out.Entries = append(out.Entries, one)
		*out.Found = append(*out.Found, foundTextOut(found.Hits[i]))
	}
	if len(found.Facets) > 0 {
		facets := map[string]v1.Facet{}
		for name, f := range found.Facets {
			facets[name] = facetOut(f, func(value string) string {
				if id, err := strconv.ParseUint(value, 10, 32); name == "bank" && err == nil {
					return banks[storage.BankID(id)].Name
				}
				return value
			})
		}
		out.Facets = &facets
	}
	return out, nil
}

func facetOut(f text.Facet, named func(string) string) v1.Facet {
	var out v1.Facet
	out.Other = f.Other
	out.Values = make([]struct {
		Count int64  `json:"count"`
		Value string `json:"value"`
	}, len(f.Values))
	for i, v := range f.Values {
		out.Values[i].Count, out.Values[i].Value = int64(v.Count), named(v.Value)
	}
	return out
}

func foundTextOut(h text.Hit) v1.FoundText {
	out := v1.FoundText{Score: float32(h.Score)}
	if len(h.Fragments) == 0 {
		return out
	}
	fields := map[string][]v1.Fragment{}
	for field, fragments := range h.Fragments {
		for _, f := range fragments {
			fields[field] = append(fields[field], fragmentOut(f))
		}
	}
	out.Fragments = &fields
	return out
}

// fragmentOut cuts a fragment where marks begin and end: so its reader need not count bytes.
func fragmentOut(f text.Fragment) v1.Fragment {
	out := v1.Fragment{CutBefore: some(f.CutBefore), CutAfter: some(f.CutAfter)}
	part := func(from, to int, hit bool) {
		if from < to {
			out.Parts = append(out.Parts, struct {
				Hit  bool   `json:"hit"`
				Text string `json:"text"`
			}{hit, f.Text[from:to]})
		}
	}
	at := 0
	for _, m := range f.Marks {
		part(at, m.Start, false)
		part(m.Start, m.End, true)
		at = m.End
	}
	part(at, len(f.Text), false)
	return out
}
