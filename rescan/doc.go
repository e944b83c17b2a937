// Package rescan goes through what was posted before: it takes a [Source] of items in a fixed order,
// checks them with several workers, hands out the results in that order, and keeps a [Checkpoint], so
// that a scan that was stopped goes on where it was.
//
//	scan := rescan.Scan[Verdict]{Source: source, Check: check, Emit: emit, Checkpoint: &checkpoint}
//	summary, err := scan.Run(ctx)
//
// It does not know how an item is checked: in this process, by a node on this machine, or far away.
package rescan
