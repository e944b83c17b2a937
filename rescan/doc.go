// Package rescan goes through what was posted before. There are two ways.
//
// A [Scan] is done by one process, while somebody waits: it takes a [Source] of items in a fixed order, checks them with several
// workers, hands out the results in that order, and keeps a [Checkpoint], so that a scan that was stopped goes on where it was. It
// does not know how an item is checked: in this process, by a node on this machine, or far away.
//
//	scan := rescan.Scan[Verdict]{Source: source, Check: check, Emit: emit, Checkpoint: &checkpoint}
//	summary, err := scan.Run(ctx)
//
// A [Runner] does re-scans as jobs, on any number of processes that come and go. The catalogue holds them (vigie/storage: Rescan).
//
//	var engine jobs.Engine
//	o := rescan.Options{Catalogue: c, Engine: func() jobs.Engine { return engine }, Sources: sources}
//	rescan.Matcher(&o, m, render)
//	runner := rescan.New(o)
//	engine, err := jobs.OpenLocal(ctx, path, runner.Handlers(), jobs.Options{})
//	err = runner.Recover(ctx)
//	r, err := runner.Start(ctx, rescan.Request{Party: party, Source: "old posts"})
//
// # What holds
//
//   - A source is planned into shards, some ahead of those who work on them. Each item of a shard is counted once and found once,
//     whoever dies or stands still meanwhile: what is known of it is stored with the cursor that passes it, by the one that took the
//     shard last.
//   - An item that cannot be fetched or checked is set aside with its error after a few tries, and so is one at which processes die.
//     It never stops a shard, and can be checked again later ([Runner.Retry]). What says nothing of the item (the database or the bucket is away, the index is loading) makes the shard wait.
//   - Of a folder or bucket that changes meanwhile, what is there when its shard is worked on is checked, up to what was last when it was
//     planned. A list that changes ends the re-scan.
//   - With more hits than [Options].MaxFound, or failures, a re-scan fails; what was found is kept.
//   - An item is checked against all entries up to the head of the log when the re-scan was started ([storage.Rescan].Seq), at least.
package rescan
