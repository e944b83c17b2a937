package sqlstore

import (
	"fmt"
	"time"

	"vigie/storage"
)

func scanSignIn(row scanner) (s storage.SignIn, err error) {
	err = row.Scan(&s.Ord, &s.ID.Node, &s.ID.Number, timeColumn{&s.At}, &s.Key, &s.Party, &s.Address)
	return s, err
}

func (r *reader) SignIns(q storage.SignInQuery) ([]storage.SignIn, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	l := signInListing(q)
	before, some, err := r.bound(&l, "sign_in", q.Before, q.From, q.Until)
	if err != nil || !some {
		return nil, wrap(err, "sign-ins before", q.Before)
	}
	ords, err := r.ofGroup(l, int64(q.Party), before, q.Limit)
	if err != nil || len(ords) == 0 {
		return nil, wrap(err, "sign-ins before", q.Before)
	}
	page, err := list(r.ctx, r.db, scanSignIn, `
		SELECT ord, node, number, at, key, party, address FROM sign_ins
		WHERE ord IN (`+r.dialect.ids("$1")+") ORDER BY ord DESC", jsonList(ords))
	return page, wrap(err, "sign-ins before", q.Before)
}

func signInListing(q storage.SignInQuery) listed {
	l := listed{from: "sign_ins s", id: "s.ord", descending: true}
	if q.Party != 0 {
		l.group = "s.party"
	}
	l.within("s.at", q.From, q.Until)
	return l
}

func (w *writer) AddSignIns(node string, signIns []storage.SignIn) error {
	shipped, err := w.Shipped(node)
	if err != nil {
		return err
	}
	if err := storage.CheckSignIns(node, shipped, signIns); err != nil {
		return err
	}
	if err := w.areNew("sign_ins", node, len(signIns), func(i int) uint64 { return signIns[i].ID.Number }); err != nil {
		return err
	}
	hours := map[int64][2]uint64{}
	if len(signIns) == 0 {
		return nil
	}
	ords, err := w.newIDs(signInsTable, len(signIns))
	if err != nil {
		return err
	}
	for i, s := range signIns {
		s.Ord = uint64(ords[i])
		if err := w.insert(signInsTable, s.Ord, s.ID.Node, s.ID.Number, millis(s.At), s.Key, s.Party, s.Address); err != nil {
			return fmt.Errorf("sign-in %s: %w", s.ID, err)
		}
		span(hours, s.At, s.Ord)
	}
	return w.arrived("sign_in", hours)
}

const removeSignIns = "DELETE FROM sign_ins WHERE ord IN (SELECT ord FROM sign_ins WHERE at < $1 ORDER BY at, ord LIMIT $2)"

func (w *writer) ExpireSignIns(before time.Time, limit int) (int, error) {
	return w.remove(removeSignIns, before, limit)
}
