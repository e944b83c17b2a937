package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vigie/internal/buildinfo"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/datadir"
	"vigie/storage/journal"
)

// identify has nobody else use the identity of the node's journal, and the journal give no number that stands for something else already. A
// catalogue in the data folder has no other users than the folder has. A command claims the identity, too, if a node has had it: what it leaves in the
// journal is delivered, or stays there.
func (n *node) identify(ctx context.Context, c *Config, serving bool, log *slog.Logger) (claim storage.NodeClaim, err error) {
	if c.Database == "" {
		return claim, n.renumber(ctx, log)
	}
	id, at := n.journal.Node(), place(c.Data)
	err = patiently(ctx, serving, log, func() error {
		last, err := matcher.AwaitIdentity(ctx, n.store, id, at, func(last storage.NodeReport) {
			log.Warn("the last process with this node's identity has not ended in order, and was elsewhere: it may be at work, and is given half a minute to tell", "node", id, "name", last.Name)
		})
		if err == nil {
			claim, err = matcher.ClaimIdentity(ctx, n.store, storage.NodeReport{
				ID: id, Name: c.nodeName(), Version: buildinfo.Version(), StartedAt: time.Now(), At: time.Now(), Stopped: !serving, Claim: storage.NodeClaim{Place: at},
			}, last)
		}
		if err == nil { // from the claim on nobody else delivers: what the catalogue has now, it has to the end
			err = n.renumber(ctx, log)
		}
		return err
	})
	if errors.Is(err, matcher.ErrIdentityTaken) {
		err = usageError{fmt.Errorf("%s: %w", filepath.Join(c.Data, journalFolder), err)}
	}
	return claim, err
}

// place is the data folder's, for a [storage.NodeClaim]: its lock, of which a copy is another file, on this machine, since that was started: a
// clone of the machine is another one. If the system does not say, it is one that nobody has been in.
func place(data string) string {
	nowhere := rand.Text()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nowhere
	}
	info, err := os.Stat(filepath.Join(data, datadir.LockName))
	if err != nil {
		return nowhere
	}
	file, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nowhere
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", strings.TrimSpace(string(boot)), file.Dev, file.Ino))
	return fmt.Sprintf("%x", sum[:16])
}

// renumber has the journal give no number that the catalogue has already: its folder is an older copy then, such as a snapshot of
// the disk. If it turns out that two processes have had the identity, what the folder holds under a number that the catalogue has of something
// else gets another number: the match that was found, though not the one that its verdict named.
func (n *node) renumber(ctx context.Context, log *slog.Logger) error {
	had := n.journal.Stats()
	var shipped uint64
	var own []journal.Record
	var alarming int
	err := n.store.View(ctx, func(r storage.Reader) (err error) {
		if shipped, err = r.Shipped(n.journal.Node()); err != nil || shipped <= had.Shipped {
			return err
		}
		own, alarming, err = n.unlike(r, shipped)
		return err
	})
	if err != nil {
		return err
	}
	if shipped > had.Appended {
		log.Error("THE DATA FOLDER IS AN OLDER COPY OF ITSELF: the catalogue has later matches of this node, whose numbers are not given again",
			"node", n.journal.Node(), "folder", had.Appended, "catalogue", shipped)
	}
	if err := n.journal.Renumber(shipped, own); err != nil {
		return err
	}
	if alarming > 0 {
		log.Error("TWO NODES HAD ONE IDENTITY: matches that this one found get other numbers than their verdicts named", "node", n.journal.Node(), "matches", alarming)
	}
	return nil
}

// unlike are the matches of the journal up to a number that the catalogue does not have. Sign-ins cannot be compared; each is the first of
// its hour, and comes again. Of those that the catalogue has nothing for:
//
//   - it may have had one that is older than its party keeps them, unless something else has the number of another;
//   - it keeps one match of a past upload and an entry, so that another one is no cause for alarm, and may come again.
//
// Those that have their other number already, since the process ended before it noted that, are left out.
func (n *node) unlike(r storage.Reader, upTo uint64) (own []journal.Record, alarming int, err error) {
	parties, err := r.Parties()
	if err != nil {
		return nil, 0, err
	}
	since := map[storage.PartyID]time.Time{}
	for _, p := range parties {
		since[p.ID] = time.Now().AddDate(0, 0, -p.KeepMatches)
	}
	type candidate struct {
		journal.Record
		expired, past bool
	}
	var found []candidate
	two, again := false, map[[sha256.Size]byte]bool{}
	for record, err := range n.journal.Backlog() {
		if err != nil {
			return nil, 0, err
		}
		beyond := record.ID.Number > upTo
		if beyond && len(found) == 0 {
			break
		}
		match, ok := matcher.MatchOf(record)
		if !ok {
			continue
		}
		if beyond {
			again[content(record)] = true
			continue
		}
		has, err := r.Match(storage.MatchID(record.ID))
		switch {
		case err == nil && has.At.Equal(storage.KeptTime(record.At)):
		case err == nil:
			two = true
			found = append(found, candidate{Record: record})
		case errors.Is(err, storage.ErrNotFound):
			found = append(found, candidate{record, record.At.Before(since[match.Party]), match.Past != nil})
		default:
			return nil, 0, err
		}
	}
	for _, c := range found {
		key := content(c.Record)
		if c.expired && !two || again[key] {
			continue
		}
		again[key] = true
		own = append(own, c.Record)
		if !c.past {
			alarming++
		}
	}
	return own, alarming, nil
}

// content stands for what a record is, whatever its number.
func content(r journal.Record) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d %s %s", r.At.UnixNano(), r.Kind, r.Body))
}
