package sqlstore

import (
	"container/heap"
	"fmt"
	"slices"
)

// A listing may be of many groups: of the entries of thousands of banks, of the matches of all parties. An index gives
// the rows of one group in their order; the page is merged from the groups that have any, as from sorted files. So a page
// costs one look into each group, and little more than the rows that it returns, however many rows of others lie between.

// listed is a listing in parts, from which the queries of merged are made. In them, $1 is the place after which the page begins.
type listed struct {
	from       string // tables
	id         string // what is listed: a column
	group      string // the column that an index has before id; empty: the rows are one group
	conditions string // beginning with AND, or empty
	args       []any  // of the conditions, from $2 on
	descending bool
}

// arg adds an argument and returns its place in the text.
func (l *listed) arg(v any) string {
	l.args = append(l.args, v)
	return fmt.Sprintf("$%d", len(l.args)+1)
}

// where adds a condition.
func (l *listed) where(column, relation string, v any) {
	l.conditions += fmt.Sprintf(" AND %s %s %s", column, relation, l.arg(v))
}

// rows is the query for ids after the place, of one group if it is not empty. group and limit are expressions.
func (l *listed) rows(group, limit string) string {
	beyond, order := ">", ""
	if l.descending {
		beyond, order = "<", " DESC"
	}
	if group != "" {
		group = fmt.Sprintf(" AND %s = %s", l.group, group)
	}
	return fmt.Sprintf("SELECT %s FROM %s WHERE %s %s $1%s%s ORDER BY %s%s LIMIT %s",
		l.id, l.from, l.id, beyond, group, l.conditions, l.id, order, limit)
}

// ofGroup is the query for n ids of a group after a place, and its arguments.
func (l listed) ofGroup(group, after int64, n int) (string, []any) {
	l.args = slices.Clip(l.args)
	of := ""
	if l.group != "" {
		of = l.arg(group)
	}
	query := l.rows(of, l.arg(n))
	return query, append([]any{after}, l.args...)
}

// heads is the query for groups and the first id of each after a place, and its arguments. The query groups gives the
// groups, as id; its argument comes last.
func (l listed) heads(groups string, argument any, after int64) (string, []any) {
	l.args = slices.Clip(l.args)
	if argument != nil {
		groups = fmt.Sprintf(groups, l.arg(argument))
	}
	return fmt.Sprintf("SELECT g.id, (%s) FROM (%s) g", l.rows("g.id", "1"), groups), append([]any{after}, l.args...)
}

// group is one that has more rows.
type group struct {
	id  int64
	ids []int64 // read ahead; never empty
	n   int     // how many were read last
}

// merged returns the first limit ids of all groups after a place. groups and its argument are as in heads.
func (r *reader) merged(l listed, groups string, argument any, after int64, limit int) ([]int64, error) {
	query, args := l.heads(groups, argument, after)
	all, err := list(r.ctx, r.db, func(row scanner) (g group, err error) {
		var first *int64
		err = row.Scan(&g.id, &first)
		if first != nil {
			g.ids, g.n = []int64{*first}, 1
		}
		return g, err
	}, query, args...)
	if err != nil {
		return nil, err
	}
	q := &groupHeap{slices.DeleteFunc(all, func(g group) bool { return g.n == 0 }), l.descending}
	heap.Init(q)
	var page []int64
	for len(page) < limit && len(q.groups) > 0 {
		g := &q.groups[0]
		last := g.ids[0]
		page = append(page, last)
		if g.ids = g.ids[1:]; len(g.ids) == 0 {
			g.n = min(4*g.n, limit-len(page))
			if g.ids, err = r.ofGroup(l, g.id, last, g.n); err != nil {
				return nil, err
			}
		}
		if len(g.ids) == 0 {
			heap.Pop(q)
		} else {
			heap.Fix(q, 0)
		}
	}
	return page, nil
}

// ofGroup returns n ids of one group after a place.
func (r *reader) ofGroup(l listed, group, after int64, n int) ([]int64, error) {
	query, args := l.ofGroup(group, after, n)
	return list(r.ctx, r.db, scanID[int64], query, args...)
}

func scanID[T ~int64 | ~uint64](row scanner) (id T, err error) {
	err = row.Scan(&id)
	return id, err
}

// groupHeap has the group with the next id on top.
type groupHeap struct {
	groups     []group
	descending bool
}

func (h *groupHeap) Len() int      { return len(h.groups) }
func (h *groupHeap) Swap(i, j int) { h.groups[i], h.groups[j] = h.groups[j], h.groups[i] }
func (h *groupHeap) Push(g any)    { h.groups = append(h.groups, g.(group)) }

func (h *groupHeap) Pop() any {
	last := len(h.groups) - 1
	g := h.groups[last]
	h.groups = h.groups[:last]
	return g
}

func (h *groupHeap) Less(i, j int) bool {
	a, b := h.groups[i].ids[0], h.groups[j].ids[0]
	if h.descending {
		return a > b
	}
	return a < b
}
