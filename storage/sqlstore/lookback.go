package sqlstore

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"vigie/storage"
)

func (r *reader) Looked(node string) (seq uint64, err error) {
	err = r.row("SELECT seq FROM looked WHERE node = $1", node).Scan(&seq)
	return seq, wrap(err, "look-back of node", node)
}

func (w *writer) SetLooked(node string, seq uint64) error {
	if err := storage.CheckText("node", node); err != nil {
		return err
	}
	return wrap(w.exec(`
		INSERT INTO looked (node, seq) VALUES ($1, $2)
		ON CONFLICT (node) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > looked.seq`, node, seq), "look-back of node", node)
}

func (w *writer) RewindLooked(seq uint64) error {
	return wrap(w.exec("UPDATE looked SET seq = $1 WHERE seq > $1", seq), "look-backs beyond", seq)
}

func selectPast(d dialect) string {
	return "SELECT ord, node, number, at FROM past_uploads WHERE ord IN (" + d.ids("$1") + ") ORDER BY ord DESC"
}

// fillPast adds their past uploads to matches, which are in the order of Ord, newest first.
func (r *reader) fillPast(page []storage.MatchRecord, ords []uint64) error {
	at := 0
	_, err := list(r.ctx, r.db, func(row scanner) (_ struct{}, err error) {
		var ord uint64
		var p storage.PastUpload
		if err := row.Scan(&ord, &p.Upload.Node, &p.Upload.Number, timeColumn{&p.At}); err != nil {
			return struct{}{}, err
		}
		for page[at].Ord != ord {
			at++
		}
		page[at].Past = &p
		return struct{}{}, nil
	}, selectPast(r.dialect), jsonList(ords))
	return err
}

const selectPastKeys = "SELECT number FROM past_uploads WHERE entry = $1 AND node = $2 AND number >= $3 AND number <= $4"

// unseen is [storage.Unseen] of what is stored. It asks once for each entry and node whose uploads are among the matches.
func (w *writer) unseen(matches []storage.MatchRecord) ([]storage.MatchRecord, error) {
	type of struct {
		entry storage.EntryID
		node  string
	}
	ranges := map[of][2]uint64{}
	for _, m := range matches {
		if m.Past == nil {
			continue
		}
		at, n := of{m.Entries[0].Entry, m.Past.Upload.Node}, m.Past.Upload.Number
		if r, ok := ranges[at]; ok {
			ranges[at] = [2]uint64{min(r[0], n), max(r[1], n)}
		} else {
			ranges[at] = [2]uint64{n, n}
		}
	}
	there := map[storage.EntryID]map[storage.MatchID]bool{}
	for at, r := range ranges {
		numbers, err := list(w.ctx, w.db, scanID[uint64], selectPastKeys, at.entry, at.node, r[0], r[1])
		if err != nil {
			return nil, fmt.Errorf("past uploads of entry %d: %w", at.entry, err)
		}
		if there[at.entry] == nil {
			there[at.entry] = map[storage.MatchID]bool{}
		}
		for _, n := range numbers {
			there[at.entry][storage.MatchID{Node: at.node, Number: n}] = true
		}
	}
	return storage.Unseen(matches, func(e storage.EntryID, id storage.MatchID) bool { return there[e][id] }), nil
}

func selectErasuresOf(d dialect) string {
	return "SELECT party, content, at FROM erasures WHERE content IN (" + fmt.Sprintf(d.textList, "$1") + ")"
}

// erasuresOf are the erasures of names that these matches have, of whatever party and time.
func (w *writer) erasuresOf(matches []storage.MatchRecord) ([]storage.Erasure, error) {
	names := map[string]bool{}
	for _, m := range matches {
		if m.ContentID != "" {
			names[m.ContentID] = true
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(slices.Collect(maps.Keys(names)))
	if err != nil {
		return nil, err
	}
	all, err := list(w.ctx, w.db, func(row scanner) (e storage.Erasure, err error) {
		err = row.Scan(&e.Party, &e.ContentID, timeColumn{&e.At})
		return e, err
	}, selectErasuresOf(w.dialect), string(text))
	if err != nil {
		return nil, fmt.Errorf("erasures of names: %w", err)
	}
	return all, nil
}

const selectErasures = "SELECT id, party, content, at FROM erasures WHERE id > $1 ORDER BY id LIMIT $2"

func (r *reader) Erasures(after uint64, limit int) ([]storage.Erasure, error) {
	if err := storage.CheckRemoved(limit); err != nil {
		return nil, err
	}
	all, err := list(r.ctx, r.db, func(row scanner) (e storage.Erasure, err error) {
		err = row.Scan(&e.ID, &e.Party, &e.ContentID, timeColumn{&e.At})
		return e, err
	}, selectErasures, after, limit)
	return all, wrap(err, "erasures after", after)
}

func (r *reader) Erased(node string) (id uint64, err error) {
	err = r.row("SELECT COALESCE(MAX(erasure), 0) FROM erased WHERE node = $1", node).Scan(&id)
	return id, wrap(err, "erasures of node", node)
}

func (w *writer) AddErasure(e *storage.Erasure) error {
	if err := storage.CheckText("erasure", e.ContentID); err != nil {
		return err
	}
	if err := w.partyExists(e.Party); err != nil {
		return err
	}
	e.At = w.options.Time()
	err := w.row("INSERT INTO erasures (party, content, at) VALUES ($1, $2, $3) RETURNING id", e.Party, e.ContentID, millis(e.At)).Scan(&e.ID)
	return wrap(err, "erasure of party", e.Party)
}

func (w *writer) SetErased(node string, id uint64) error {
	if err := storage.CheckText("node", node); err != nil {
		return err
	}
	return wrap(w.exec(`
		INSERT INTO erased (node, erasure) VALUES ($1, $2)
		ON CONFLICT (node) DO UPDATE SET erasure = excluded.erasure WHERE excluded.erasure > erased.erasure`, node, id), "erasures of node", node)
}

const removeErasures = "DELETE FROM erasures WHERE id IN (SELECT id FROM erasures WHERE at < $1 ORDER BY at, id LIMIT $2)"

func (w *writer) ExpireErasures(before time.Time, limit int) (int, error) {
	return w.remove(removeErasures, before, limit)
}
