package history

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"vigie/storage"
	"vigie/storage/journal"
)

// part is what becomes one file.
type part struct {
	party storage.PartyID
	hour  time.Time
}

// seal makes files of a file of the journal. It may be given the same records again, after an error or a crash, and some more behind
// them: those that a file has already, as the numbers in its name say, are left out. So each record is in one file, and one that was
// erased from its file does not come back.
func (h *History) seal(ctx context.Context, records []journal.Record) error {
	parts := map[part][]row{}
	first, last := records[0].ID.Number, records[len(records)-1].ID.Number
	for _, j := range records {
		r, err := parseBody(j.Body)
		if err != nil {
			h.o.Fault(fmt.Errorf("seal upload %v, which is left out: %w", j.ID, err))
			continue
		}
		p := part{r.Party, hourOf(r.At)}
		parts[p] = append(parts[p], r.row(j.ID.Number))
	}
	h.files.Lock()
	defer h.files.Unlock()
	if err := h.lookBehind(ctx); err != nil {
		return err
	}
	for _, p := range slices.SortedFunc(maps.Keys(parts), func(a, b part) int {
		return cmp.Or(cmp.Compare(a.party, b.party), a.hour.Compare(b.hour))
	}) {
		if err := h.write(ctx, File{p.party, p.hour, h.Node(), first, last}, parts[p]); err != nil {
			return err
		}
	}
	h.window.seal(last)
	return nil
}

// lookBehind finds out whether the node's folder is older than its files: it was set back, from a backup or an image of a machine. Then
// numbers come a second time. files is held.
func (h *History) lookBehind(ctx context.Context) error {
	if h.looked {
		return nil
	}
	newest := uint64(0)
	for f, err := range h.list(ctx, "") {
		if err != nil {
			return err
		}
		if f.Node == h.Node() {
			newest = max(newest, f.Last)
		}
	}
	if h.looked = true; newest > h.began {
		h.behind = newest
		h.o.Fault(fmt.Errorf("the folder of the upload history was set back: it knows of uploads up to %d, and %d were sealed; what comes until then is sealed "+
			"under other names", h.began, newest))
	}
	return nil
}

// write writes a file with those of the rows that no other one has.
func (h *History) write(ctx context.Context, f File, rows []row) error {
	var had []File
	for name, err := range h.store.List(ctx, folder(f.Party, f.Hour)) {
		if err != nil {
			return err
		}
		if other, err := ParseFile(name); err == nil && other.Node == f.Node {
			had = append(had, other)
		}
	}
	again := f // with the numbers of others, if the folder was set back
	for _, other := range had {
		f.First = max(f.First, other.Last+1)
	}
	twice := func(r row) bool { return uint64(r.Number) < f.First }
	if f.Node == h.Node() && slices.ContainsFunc(rows, func(r row) bool { return twice(r) && uint64(r.Number) <= h.behind }) {
		lost, err := h.others(ctx, had, slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !twice(r) }))
		if err == nil && len(lost) > 0 {
			again.Node, again.Last = otherNode(f.Node, lost[0]), uint64(lost[len(lost)-1].Number)
			err = h.write(ctx, again, lost)
		}
		if err != nil {
			return err
		}
	}
	if rows = slices.DeleteFunc(rows, twice); len(rows) == 0 {
		return nil
	}
	data, err := f.encode(rows)
	if err != nil {
		return err
	}
	return h.store.Put(ctx, f.Name(), data)
}

// others returns the rows that files lack: those whose numbers stand for other uploads there, or for none.
func (h *History) others(ctx context.Context, had []File, rows []row) ([]row, error) {
	there := make(map[row]bool, len(rows))
	for _, r := range rows {
		there[r] = false
	}
	for _, f := range had {
		err := f.read(ctx, h.store, func(o *opened) error {
			return o.rows(func(some []row) error {
				for _, r := range some {
					if _, asked := there[r]; asked {
						there[r] = true
					}
				}
				return ctx.Err()
			})
		})
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
	}
	return slices.DeleteFunc(rows, func(r row) bool { return there[r] }), nil
}

// otherNode is a name for a node whose numbers are taken: the same when the same is sealed again.
func otherNode(node string, first row) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %v", node, first))
	return hex.EncodeToString(sum[:4])
}

// load fills the window from this node's files, the newest first, as far as it goes back.
func (h *History) load(ctx context.Context) error {
	since := h.o.Now().Add(-h.o.WindowAge)
	var files []File
	for f, err := range h.list(ctx, "") {
		if err != nil {
			return err
		}
		if f.Node == h.Node() && f.Hour.Add(time.Hour).After(since) && f.Last <= h.window.opened {
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(b.Last, a.Last) })
	for _, f := range files {
		room, err := h.loadFile(ctx, f)
		if ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil && !errors.Is(err, storage.ErrNotFound) {
			h.o.Fault(fmt.Errorf("fill the window of the upload history: %w", err))
		}
		if !room {
			break
		}
	}
	return nil
}

// loadFile adds the rows of a file to the window. Nothing is erased meanwhile.
func (h *History) loadFile(ctx context.Context, f File) (room bool, err error) {
	h.files.Lock()
	defer h.files.Unlock()
	room = true
	last := int64(0) // that was added; it may be read anew
	err = f.read(ctx, h.store, func(o *opened) error {
		return o.rows(func(rows []row) error {
			for _, r := range rows {
				if r.Number > last {
					last, room = r.Number, room && h.window.addOld(uint64(r.Number), r.record(f.Party))
				}
			}
			return ctx.Err()
		})
	})
	return room, err
}
