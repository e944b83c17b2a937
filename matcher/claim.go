package matcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vigie/storage"
)

// A node's identity is that of its journal, and a copy of its data folder has the same. Two that use it at a time would give the same
// numbers to different matches. So a process claims the identity in the catalogue, in the report that a node makes there anyway:
//
//   - It waits until it knows that nobody else uses the identity ([AwaitIdentity]), and then claims it ([ClaimIdentity]). Only then it looks
//     which numbers the catalogue has already.
//   - From then on the claim is looked at in each transaction that reports, or delivers records of the journal. If another
//     process has claimed the identity meanwhile, as can be if this one stood still for long, nothing is written: what this
//     one has found stays in its journal, and it is to end.

// ErrIdentityTaken: another process uses the identity of this node's journal.
var ErrIdentityTaken = errors.New("another node has the identity of this one, so that the data folder of one is a copy of the other's; stop one of them, and remove the folder journal from its data folder once nothing in it waits")

// claimPatience is how long who may be a copy waits for a sign of life of the other. From one report to the next it takes 10 s, if the
// database is slow: one takes up to reportEvery, and the next begins as long after that. If that fails, it is 10 s more; and some for luck.
const claimPatience = 5 * reportEvery

// AwaitIdentity returns when no other process uses the identity of a node. That is at once if the last one has ended in order, or was
// in the same place ([storage.NodeClaim]); otherwise, such as after a crash of the machine, it takes 25 s, in
// which reports are waited for; waiting is called before. ErrIdentityTaken, if one comes. It returns the last one's claim.
func AwaitIdentity(ctx context.Context, c storage.Catalogue, node, place string, waiting func(storage.NodeReport)) (storage.NodeClaim, error) {
	last, there, err := reportOf(ctx, c, node)
	if err != nil || !there || last.Stopped || place != "" && last.Claim.Place == place {
		return last.Claim, err
	}
	waiting(last)
	for until := time.Now().Add(claimPatience); time.Now().Before(until); {
		select {
		case <-ctx.Done():
			return last.Claim, ctx.Err()
		case <-time.After(reportEvery / 10):
		}
		now, there, err := reportOf(ctx, c, node)
		switch {
		case err != nil:
			return last.Claim, err
		case !there || now.Stopped:
			return now.Claim, nil
		case now.Claim != last.Claim || !now.At.Equal(last.At):
			return last.Claim, taken(now)
		}
	}
	return last.Claim, nil
}

// ClaimIdentity puts a node's first report into the catalogue, with a claim that comes after the last one, and returns that.
// ErrIdentityTaken, if last is not the last one any more.
//
// For a process that does not last, as it says (Stopped), the report stays as it was, but for the claim; where there is none there is
// nothing to claim, and so nobody that it yields to.
func ClaimIdentity(ctx context.Context, c storage.Catalogue, n storage.NodeReport, last storage.NodeClaim) (storage.NodeClaim, error) {
	n.Name, n.Version, n.Claim.Number = cut(n.Name), cut(n.Version), last.Number+1
	var claim storage.NodeClaim
	err := c.Update(ctx, func(w storage.Writer) error {
		claim = n.Claim
		all, err := w.Nodes()
		if err != nil {
			return err
		}
		now, there := reportIn(all, n.ID)
		switch {
		case there && now.Claim != last && now.Claim != n.Claim: // it may have come about without an answer
			return taken(now)
		case n.Stopped && !there:
			claim = storage.NodeClaim{}
			return nil
		case n.Stopped:
			now.Claim = n.Claim
			return w.ReportNode(now)
		}
		return w.ReportNode(n)
	})
	return claim, err
}

func taken(by storage.NodeReport) error {
	return fmt.Errorf("%w: node %s is at work as %q", ErrIdentityTaken, by.ID, by.Name)
}

// held is ErrIdentityTaken if another process has claimed the identity of a node after this one, as all nodes' reports tell.
func held(all []storage.NodeReport, node string, claim storage.NodeClaim) error {
	if now, there := reportIn(all, node); there && claim != (storage.NodeClaim{}) && claim.Yields(now.Claim) {
		return taken(now)
	}
	return nil
}

func reportOf(ctx context.Context, c storage.Catalogue, node string) (last storage.NodeReport, there bool, err error) {
	err = c.View(ctx, func(r storage.Reader) error {
		all, err := r.Nodes()
		last, there = reportIn(all, node)
		return err
	})
	return last, there, err
}

func reportIn(all []storage.NodeReport, node string) (storage.NodeReport, bool) {
	at := slices.IndexFunc(all, func(n storage.NodeReport) bool { return n.ID == node })
	if at < 0 {
		return storage.NodeReport{}, false
	}
	return all[at], true
}
