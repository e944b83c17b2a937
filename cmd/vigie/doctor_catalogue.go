package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"vigie/internal/buildinfo"
	"vigie/storage"
	"vigie/storage/sqlstore"
)

const useBackup = "keep the folder as it is, and restore the last backup that verifies (vigie restore) to a new one"

// checkCatalogue: it is of this version, and SQLite finds its file whole. The files of PostgreSQL are for PostgreSQL to examine.
func checkCatalogue(ctx context.Context, x *examination) []finding {
	if x.Database == "" {
		switch err := needOwn(x.Data); {
		case errors.Is(err, errNoFolder):
			return []finding{fault("there is nothing to search, and nothing to lose", "name the data folder with --data; vigie serve makes a new one", "%v", err)}
		case errors.Is(err, errElsewhere):
			return []finding{fault("what the node works on cannot be examined", "add --database", "%v", err)}
		}
	}
	s, err := x.look(ctx)
	switch {
	case x.Database != "" && err != nil && sqlstore.Passing(err):
		return []finding{fault("checks go on in nodes that run, without labels and opinions; nothing can be flagged", "start the database, or mend the way to it", "the database does not answer: %s", oneLine(err))}
	case errors.Is(err, sqlstore.ErrNewer):
		return []finding{fault("this program must not touch it", "use the version of vigie that wrote it, or a later one; this is "+buildinfo.Version(), "%v", err)}
	case errors.Is(err, sqlstore.ErrOlder):
		return []finding{warning("it was not used since this version of vigie was installed", "take a backup with the version before, then start the node: the catalogue migrates itself", "%v", err)}
	case errors.Is(err, sqlstore.ErrForeign):
		return []finding{fault("something else lies where the catalogue should be, or its first page is damaged", useBackup, "%v", err)}
	case err != nil:
		return []finding{fault("nothing can be flagged or looked up", useBackup, "it cannot be read: %v", err)}
	}
	x.catalog = s
	faults, err := s.Integrity(ctx)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return []finding{fault("nothing can be flagged or looked up", useBackup, "it cannot be examined: %v", err)}
	}
	if len(faults) > 0 {
		shown := strings.ReplaceAll(strings.Join(faults[:min(3, len(faults))], "; "), "\n", " ")
		return []finding{fault("the disk has lost or altered a part of the file, or somebody wrote to it; answers may be wrong", useBackup+"; examine the disk",
			"SQLite finds the file damaged: %s", shown+map[bool]string{true: fmt.Sprintf(" and %d more", len(faults)-3)}[len(faults) > 3])}
	}
	if x.head, err = s.Head(ctx); err == nil {
		x.rows, err = s.Rows(ctx)
	}
	if err != nil {
		return []finding{fault("nothing can be flagged or looked up", useBackup, "it cannot be read: %v", err)}
	}
	whole := "SQLite finds the file whole"
	if x.Database != "" {
		whole = "PostgreSQL answers; its files are not examined (pg_amcheck does that)"
	}
	return fine("%s; %d entries, %d banks, %d keys", whole, x.rows["entries"], x.rows["banks"], x.rows["keys"])
}

// logPass reads the log once, for all who want to know something of it.
type logPass struct {
	storage.Log
	nodes  func(ctx context.Context, from int64, n int) ([]storage.Hash, error)
	tree   storage.Tree
	broken error // what is wrong with the stored nodes of the tree

	stride  uint64 // each how many-th entry is remembered
	entries map[storage.EntryID]logged
	added   int64
	banks   map[storage.BankID]storage.BankBody
	keys    map[string]storage.KeyBody

	last     time.Time
	wentBack time.Duration // the largest step of the clock into the past
	backAt   uint64
}

// logged is what the log says last of an entry.
type logged struct {
	seq, stateSeq uint64 // of its last change, and of the last that tells its state
	state         uint64 // sum of that
}

// Changes reads, and looks on.
func (p *logPass) Changes(ctx context.Context, after uint64, limit int) ([]storage.Change, error) {
	changes, err := p.Log.Changes(ctx, after, limit)
	if err != nil || after != p.tree.Size() {
		return changes, err
	}
	first := tlog.StoredHashIndex(0, int64(after))
	var nodes []storage.Hash
	for _, c := range changes {
		var more []storage.Hash
		p.tree, more = p.tree.Append(c.Record)
		nodes = append(nodes, more...)
		if err := p.see(c); err != nil {
			return nil, fmt.Errorf("change %d: its body: %v: %w", c.Seq, err, storage.ErrCorrupt)
		}
	}
	if p.broken == nil && len(changes) > 0 {
		stored, err := p.nodes(ctx, first, len(nodes))
		switch {
		case errors.Is(err, storage.ErrCorrupt):
			p.broken = err
		case err != nil:
			return nil, err
		default:
			for i := range nodes {
				if i >= len(stored) || stored[i] != nodes[i] {
					p.broken = fmt.Errorf("node %d of the tree is not what the records give", first+int64(i))
					break
				}
			}
		}
	}
	return changes, nil
}

// see remembers what a change says.
func (p *logPass) see(c storage.Change) error {
	if back := p.last.Sub(c.At); back > p.wentBack {
		p.wentBack, p.backAt = back, c.Seq
	}
	p.last = c.At
	if c.Kind == storage.EntryAdded {
		p.added++
	}
	if c.Entry != 0 && uint64(c.Entry)%p.stride == 0 {
		l := p.entries[c.Entry]
		l.seq = c.Seq
		p.entries[c.Entry] = l
	}
	switch kind, _, _ := strings.Cut(string(c.Kind), "."); kind {
	case "entry":
		if uint64(c.Entry)%p.stride != 0 {
			return nil
		}
		var body storage.EntryBody
		if err := json.Unmarshal(c.Body, &body); err != nil {
			return err
		}
		if body.Status != "" {
			l := p.entries[c.Entry]
			l.stateSeq, l.state = c.Seq, sumState(body)
			p.entries[c.Entry] = l
		}
	case "key":
		var body storage.KeyBody
		if err := json.Unmarshal(c.Body, &body); err != nil {
			return err
		}
		p.keys[c.Key] = body
	case "bank":
		var body storage.BankBody
		if err := json.Unmarshal(c.Body, &body); err != nil {
			return err
		}
		p.banks[c.Bank] = body
	}
	return nil
}

// sumState is a sum of what the catalogue and the log both say of an entry.
func sumState(b storage.EntryBody) uint64 {
	text, _ := json.Marshal(storage.EntryBody{Status: b.Status, ExactOnly: b.ExactOnly, Labels: b.Labels, Signals: b.Signals, ExpiresAt: b.ExpiresAt}) // plain structs: cannot fail
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:])
}

// stateOf is an entry as a change tells it.
func stateOf(e storage.Entry) storage.EntryBody {
	b := storage.EntryBody{Status: e.Status, ExactOnly: e.ExactOnly, Labels: e.Labels, ExpiresAt: e.ExpiresAt}
	for _, s := range e.Signals {
		b.Signals = append(b.Signals, storage.BodyOf(s))
	}
	return b
}

// sampledEntries is how many entries are compared with the log, unless all are.
const sampledEntries = 20_000

// checkLog: numbers are dense, records canonical, private data what was committed to, roots and nodes those of the records.
func checkLog(ctx context.Context, x *examination) []finding {
	if x.rows == nil {
		return unchecked("the catalogue cannot be read")
	}
	p := &logPass{
		Log: x.catalog, nodes: x.catalog.Nodes, stride: 1,
		entries: map[storage.EntryID]logged{}, banks: map[storage.BankID]storage.BankBody{}, keys: map[string]storage.KeyBody{},
	}
	if !x.deep {
		p.stride = uint64(x.rows["entries"])/sampledEntries + 1
	}
	const altered = "the log was altered or damaged: what it says cannot be trusted from there on, and followers of it stop"
	m := x.meter("log", int64(x.head.Seq), false)
	head, err := storage.VerifyLog(ctx, p, func(seq uint64) { m.set(int64(seq)) })
	m.end()
	if err == nil {
		var beyond []storage.Change
		if beyond, err = x.catalog.Changes(ctx, head.Seq, 1); err == nil && len(beyond) > 0 {
			err = fmt.Errorf("change %d is there, though the head is %d", beyond[0].Seq, head.Seq)
		}
	}
	if err != nil {
		return []finding{fault(altered, useBackup, "%v", err)}
	}
	if p.broken == nil {
		if more, err := x.catalog.Nodes(ctx, tlog.StoredHashCount(int64(head.Seq)), 1); err != nil || len(more) > 0 {
			p.broken = errors.New("the stored tree goes beyond the records")
		}
	}
	x.log = p
	if p.broken != nil {
		return []finding{fault("the records are right, but proofs of them would not be, and the next change may be refused", useBackup, "%v", p.broken)}
	}
	return fine("log %s is dense up to change %d; records, roots and tree agree: %s", head.LogID, head.Seq, hex.EncodeToString(head.Root[:]))
}

// checkEntries: entries are what the log says of them.
func checkEntries(ctx context.Context, x *examination) []finding {
	if x.log == nil {
		return unchecked("there is no log that verifies to compare them with")
	}
	const means = "the catalogue was changed behind the log's back, or damaged: indexes made of the one and of the other differ"
	var wrong []string
	compare := func(e storage.Entry) {
		l, known := x.log.entries[e.ID]
		delete(x.log.entries, e.ID)
		switch {
		case !known:
			wrong = append(wrong, fmt.Sprintf("no change of the log made entry %d", e.ID))
		case l.seq != e.Seq:
			wrong = append(wrong, fmt.Sprintf("entry %d says that change %d was its last, the log says %d", e.ID, e.Seq, l.seq))
		case l.state != sumState(stateOf(e)):
			wrong = append(wrong, x.difference(ctx, e, l.stateSeq))
		}
	}
	compared := len(x.log.entries)
	err := x.catalog.View(ctx, func(r storage.Reader) error {
		if x.log.stride > 1 {
			for _, id := range slices.Sorted(maps.Keys(x.log.entries)) {
				e, err := r.Entry(id)
				if err == nil {
					compare(e)
				} else if !errors.Is(err, storage.ErrNotFound) {
					return err
				}
			}
			return nil
		}
		for after := storage.EntryID(0); ; {
			page, err := r.Entries(storage.EntryQuery{After: after, Limit: 500})
			if err != nil || len(page) == 0 {
				return err
			}
			for _, e := range page {
				compare(e)
				after = e.ID
			}
		}
	})
	if err != nil {
		return []finding{fault(means, useBackup, "they cannot be read: %v", err)}
	}
	for _, id := range slices.Sorted(maps.Keys(x.log.entries)) {
		wrong = append(wrong, fmt.Sprintf("entry %d is in the log, and not in the catalogue", id))
	}
	if n := x.rows["entries"]; n != x.log.added && len(wrong) == 0 {
		wrong = append(wrong, fmt.Sprintf("the catalogue has %d entries, the log added %d", n, x.log.added))
	}
	if len(wrong) > 0 {
		return []finding{fault(means, useBackup+"; or flag the entry's media again", "%s", firstOf(wrong))}
	}
	return fine("%d of %d were compared, and are what the log says", compared, x.rows["entries"])
}

// difference names the part of an entry that differs from what a change says.
func (x *examination) difference(ctx context.Context, e storage.Entry, seq uint64) string {
	var body storage.EntryBody
	if c, err := x.catalog.Changes(ctx, seq-1, 1); err == nil && len(c) == 1 {
		_ = json.Unmarshal(c[0].Body, &body) // was read before
	}
	have, part := stateOf(e), "signals"
	switch {
	case have.Status != body.Status:
		part = fmt.Sprintf("status (%s, by the log %s)", have.Status, body.Status)
	case !slices.Equal(have.Labels, body.Labels):
		part = "labels"
	case !have.ExpiresAt.Equal(body.ExpiresAt):
		part = "expiry"
	case have.ExactOnly != body.ExactOnly:
		part = "rule of matching by digests alone"
	}
	return fmt.Sprintf("entry %d has other %s than change %d says", e.ID, part, seq)
}

// firstOf is the first of what is wrong, and how many there are.
func firstOf(wrong []string) string {
	if len(wrong) == 1 {
		return wrong[0]
	}
	return fmt.Sprintf("%s; there are %d such faults", wrong[0], len(wrong))
}

// checkBanksAndKeys: as checkEntries; and there are keys that can be used.
func checkBanksAndKeys(ctx context.Context, x *examination) []finding {
	if x.log == nil {
		return unchecked("there is no log that verifies to compare them with")
	}
	const soon = 14 * 24 * time.Hour
	const makeKey = "vigie keys create --role ROLE NAME"
	var wrong []string
	var found []finding
	banks, usable := 0, 0
	err := x.catalog.View(ctx, func(r storage.Reader) error {
		all, err := r.Banks()
		if err != nil {
			return err
		}
		banks = len(all)
		for _, b := range all {
			body, known := x.log.banks[b.ID]
			delete(x.log.banks, b.ID)
			here, _ := json.Marshal(storage.BankBody{Name: b.Name, Policy: b.Policy, Deleted: b.Deleted})
			there, _ := json.Marshal(storage.BankBody{Name: body.Name, Policy: body.Policy, Deleted: body.Deleted}) // plain structs: cannot fail
			if !known || string(here) != string(there) {
				wrong = append(wrong, fmt.Sprintf("bank %d is not what the log says", b.ID))
			}
		}
		keys, err := r.Keys()
		if err != nil {
			return err
		}
		for _, k := range keys {
			body, known := x.log.keys[k.ID]
			delete(x.log.keys, k.ID)
			if !known || body.Role != k.Role || !sameTime(body.ExpiresAt, k.ExpiresAt) || !sameTime(body.RevokedAt, k.RevokedAt) {
				wrong = append(wrong, fmt.Sprintf("key %s is not what the log says", k.ID))
			}
			left := k.ExpiresAt.Sub(x.now)
			switch {
			case !k.RevokedAt.IsZero(), !k.ExpiresAt.IsZero() && left <= 0:
				continue
			case !k.ExpiresAt.IsZero() && left < soon:
				found = append(found, warning("whoever uses it is refused then", makeKey, "key %s expires in %.0f hours", k.ID, left.Hours()))
			}
			usable++
		}
		return nil
	})
	if err != nil {
		wrong = append(wrong, fmt.Sprintf("they cannot be read: %v", err))
	}
	for id := range x.log.banks {
		wrong = append(wrong, fmt.Sprintf("bank %d is in the log, and not in the catalogue", id))
	}
	for id := range x.log.keys {
		wrong = append(wrong, fmt.Sprintf("key %s is in the log, and not in the catalogue", id))
	}
	if len(wrong) > 0 {
		found = append(found, fault("the catalogue was changed behind the log's back, or damaged: policies or rights are in doubt", useBackup, "%s", firstOf(wrong)))
	}
	if usable == 0 {
		found = append(found, warning("only commands on this machine can use the node", makeKey, "there are no keys, or all are revoked or expired"))
	}
	return or(found, "%d banks and %d usable keys; all are what the log says", banks, usable)
}

// sameTime compares a time with one that is left out if it is zero.
func sameTime(a *time.Time, b time.Time) bool {
	if a == nil {
		return b.IsZero()
	}
	return a.Equal(b)
}
