package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"vigie/api"
	"vigie/hashing"
	"vigie/hashing/decode"
	"vigie/hashing/fingerprint"
	"vigie/hashing/sandbox"
	"vigie/index"
	"vigie/index/text"
	"vigie/internal/buildinfo"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/datadir"
	"vigie/storage/history"
	"vigie/storage/journal"
	"vigie/storage/sqlstore"
)

// decodeChild is the hidden command by which package sandbox starts this program as a decode child.
const (
	decodeChild      = "decode-child"
	sandboxTestHooks = "VIGIE_DECODE_TEST_HOOKS"
)

// hurried is for how long who has lost its identity answers what is under way.
const hurried = 5 * time.Second

// runDecodeChild is the whole life of a decode child.
func runDecodeChild() int {
	o, err := sandbox.ChildOptionsFrom(os.Getenv)
	if err == nil {
		err = sandbox.Child(os.Stdin, os.Stdout, fingerprint.New(o.Limits).Picture, decode.Cost, o)
	}
	if err != nil {
		return exitFailed
	}
	return exitDone
}

// node is everything that runs on a data folder, wired. Whoever owns the folder serves its socket.
type node struct {
	lock    *datadir.Lock
	store   storage.Catalogue
	blobs   blobs
	pool    *sandbox.Pool
	index   *index.Index
	journal *journal.Journal
	texts   *matcher.Texts
	matcher *matcher.Matcher
	work    *work
	history *history.History
	uploads uploads // the history's files
	api     *api.Server
	metrics *api.Metrics
	front   *front        // of the socket; and of the addresses, if it serves
	local   *http.Server  // on the socket
	grace   time.Duration // for its requests, when it closes
	failed  chan error    // why it is to be closed

	stop    context.CancelFunc
	running sync.WaitGroup
}

// openNode wires the rooms on a data folder and starts to follow the log. storage.ErrLocked if
// another process owns the folder. front is what a node that serves shows, nil within a command: a command does not wait for a
// database that is away. log may be nil.
func openNode(ctx context.Context, c *Config, front *front, log *slog.Logger) (_ *node, err error) {
	n, serving := &node{front: front, failed: make(chan error, 1)}, front != nil
	waits := serving && c.Database != ""
	defer func() {
		if err != nil {
			_ = n.Close()
		}
	}()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if n.lock, err = datadir.LockFolder(c.Data); err != nil {
		return nil, err
	}
	if serving {
		warn(log)
		n.store, err = c.awaitCatalogue(ctx, log, func() error { return n.listen(c) })
	} else {
		n.front = newFront()
		n.store, err = c.openCatalogue(ctx)
	}
	if err != nil {
		return nil, err
	}
	if n.blobs, err = c.openMedia(ctx, log); err != nil {
		return nil, err
	}
	if n.pool, err = sandbox.New(c.sandbox()); err != nil {
		return nil, fmt.Errorf("prepare the decode children: %w", err)
	}
	if walls := n.pool.Stats().Protections; walls.Full() {
		log.Info("decode children", "protections", walls.String())
	} else {
		log.Warn("decode children and ffmpeg lack protections that this kernel does not have", "protections", walls.String())
		if walls.Landlock == 0 {
			log.Warn("without Landlock, a hostile file that takes ffmpeg or heif-convert over could read what this user can read")
		}
	}
	if program := n.pool.Stats().Converter; program != "" {
		log.Info("HEIC", "program", program)
	} else {
		log.Warn("no heif-convert: HEIC is refused")
	}
	metrics := api.NewMetrics()
	n.metrics = metrics
	videos, err := c.films()
	if err != nil {
		return nil, fmt.Errorf("prepare videos: %w", err)
	}
	videos.count = metrics.Video
	videos.tell(log)
	events := metrics.Watch(matcher.Events{
		Fault: func(err error) { log.Error("follower", "error", err) },
		Diverged: func(err error) {
			log.Error("THE DATABASE HOLDS ANOTHER LOG: the index is made anew, and the old one answers meanwhile", "error", err)
		},
		Rebuilt: func(r matcher.Rebuilt) {
			log.Warn("the index was made of another log", "seq_before", r.Seq, "entries_before", r.Entries, "seq", r.NowSeq, "entries", r.NowEntries, "missing", r.Missing)
		},
	})
	memory := c.MemoryLimit.of(availableMemory(root()))
	log.Info("memory", "limit", memory)
	indexing := index.Options{
		MemoryLimit: memory, Copied: c.CopyIndex,
		Fault: func(err error) { log.Error("index", "error", err) },
		Shadow: func(s index.Shadow) {
			metrics.Shadow(s.Err == nil)
			if s.Err != nil {
				log.Error("THE INDEX GIVES WRONG ANSWERS: stop the node, remove the folder index, start it again, and report this", "error", s.Err)
			}
		},
	}
	err = patiently(ctx, waits, log, func() (err error) {
		n.index, err = c.openIndex(ctx, n.store, indexing, log)
		return err
	})
	if errors.Is(err, storage.ErrUnavailable) || ctx.Err() != nil {
		return nil, fmt.Errorf("hold the saved index against the catalogue: %w", err)
	}
	spoilt, saved := err != nil, n.index.Snapshot().Seq()
	if spoilt {
		log.Error("the saved index is of no use, and is made of the catalogue again", "error", err)
	}
	if n.journal, err = journal.Open(filepath.Join(c.Data, journalFolder), journal.Options{
		Fault: func(err error) { log.Error("journal", "error", err) },
	}); err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	var head storage.Head
	err = patiently(ctx, waits, log, func() (err error) {
		head, err = n.store.Head(ctx)
		return err
	})
	if err == nil {
		err = c.belongs(ctx, head.LogID, n.journal.Stats().Backlog)
	}
	if err == nil && serving {
		err = c.markDatabase()
	}
	if err != nil {
		return nil, err
	}
	claim, err := n.identify(ctx, c, serving, log)
	if err != nil {
		return nil, err
	}
	n.texts = matcher.NewTexts(n.store, filepath.Join(c.Data, textFolder), func(err error) { log.Error("text index", "error", err) })
	if serving {
		n.texts.Want()
	}
	if err := n.openHistory(ctx, c, memory, serving, log); err != nil {
		return nil, err
	}
	admission := api.NewAdmission(api.AdmissionOptions{
		Decoders: c.Decoders, WasmDecoders: c.WasmDecoders, VideoDecoders: c.VideoDecoders,
		SearchWait: c.SearchWait, DecodeWait: c.DecodeWait, Rate: c.Rate, Burst: c.Burst, Metrics: metrics,
	})
	n.matcher = matcher.New(metrics.Catalogue(n.store), n.blobs, admission.Hasher(n.pool), n.index, matcher.Options{
		Events: events, Videos: admission.Videos(videos), Texts: n.texts,
		Journal: n.journal, JournalOf: head.LogID, Claim: claim, History: n.history, Render: api.RenderVerdict, Ship: n.journal.Flush, Reach: n.journal.Reach, Brief: c.brief(),
	})
	gauges(metrics, n)
	historyGauges(metrics, n)
	err = patiently(ctx, waits, log, func() (err error) {
		n.work, err = c.openWork(ctx, n.matcher, n.store, admission, metrics, log)
		return err
	})
	if err != nil {
		return nil, err
	}

	n.api, err = api.New(n.matcher, n.store, api.Options{
		Limits: c.limits(), VideoBytes: int64(c.MaxVideoBytes), UploadMemory: int64(c.UploadMemory), BodyTime: c.BodyTimeout, BatchLines: c.BatchLines,
		Version: buildinfo.Version(), Serving: serving, Logger: log, Metrics: metrics,
		PrivateMetrics: c.ListenPrivate != "", Admission: admission, WorkTime: c.VideoTimeout + time.Minute, TrustedProxies: c.TrustedProxies, MaxStaleness: c.MaxStaleness,
		Webhooks: n.work.hooks, Rescans: n.work.rescans,
	})
	if err != nil {
		return nil, err
	}
	n.front.become(n.api.Handler())
	if n.local == nil {
		if err := n.listen(c); err != nil {
			return nil, err
		}
	}

	if !serving { // nobody else looks, and a command does not last
		n.expireNow(ctx, log)
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	n.stop = stop
	n.running.Go(func() { _ = n.matcher.Follower().Run(following) })
	n.running.Go(func() { _ = n.texts.Run(following) })
	if serving {
		report := matcher.Reporter{Matcher: n.matcher, Journal: n.journal, Name: c.nodeName(), Version: buildinfo.Version(), Ready: n.api.IsReady}
		n.running.Go(func() {
			if err := report.Run(following); errors.Is(err, matcher.ErrIdentityTaken) {
				// What is answered until it has ended names no matches: their numbers are another's.
				_ = n.journal.Close()
				n.failed <- err
			}
		})
	}
	n.running.Go(func() { _ = n.journal.Ship(following, n.matcher.Deliver) })
	n.running.Go(func() { _ = n.history.Run(following) })
	n.running.Go(func() { n.lookBack(following, c) })
	n.running.Go(func() { n.sweep(following, log) })
	if serving {
		n.running.Go(func() { n.expire(following, log) })
	}
	n.running.Go(func() { n.saveIndex(following, filepath.Join(c.Data, indexFolder), saved, spoilt, log) })
	if serving {
		n.running.Go(func() { c.leaveSnapshots(following, n.store, log) })
	}
	n.running.Go(func() { tidy(following) })
	n.running.Go(func() { watchMemory(following, n.index, log) })
	if serving {
		n.running.Go(func() { n.work.dispatch(following) })
	}
	if serving && c.Work {
		n.running.Go(func() { n.work.run(following, log) })
	}
	return n, nil
}

// listen serves the front on the socket of the data folder.
func (n *node) listen(c *Config) error {
	socket, err := listenSocket(c.Data)
	if err != nil {
		return err
	}
	n.local, n.grace = newServer(n.front), 5*time.Second+c.VideoTimeout
	n.local.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return api.TrustLocal(ctx) }
	n.running.Go(func() { _ = n.local.Serve(socket) })
	return nil
}

// hurry has it told to balancers that the node ends, and it ends soon, whatever its requests are about.
func (n *node) hurry() {
	n.api.Drain()
	n.grace = hurried
}

// patiently asks the database, and again while that is away, if the node is to wait: as it does when it opens it.
func patiently(ctx context.Context, wait bool, log *slog.Logger, ask func() error) error {
	for pause := 250 * time.Millisecond; ; pause = min(2*pause, longestAway) {
		err := ask()
		if !wait || err == nil || ctx.Err() != nil || !sqlstore.Passing(err) {
			return err
		}
		log.Warn("the database is away, and the node waits for it", "error", oneLine(err), "again_in", pause.String())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// loaded waits until the node is ready, or knows that its index does not fit into memory: then it does what needs no index,
// such as retractions, and says of the rest that it is not ready.
func (n *node) loaded(ctx context.Context) error {
	for {
		waiting, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		err := n.matcher.Follower().Await(waiting, 0)
		cancel()
		if err == nil || n.matcher.Follower().Full() {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// newServer is an HTTP server for a node's API. Bodies have deadlines of their own, in api.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
}

// sweep removes media of unfinished flags, uploads to S3 that were not finished, and what is older than it is kept, at once and then
// each hour.
func (n *node) sweep(ctx context.Context, log *slog.Logger) {
	for {
		removed, err := n.matcher.Sweep(ctx)
		if err != nil && ctx.Err() == nil {
			log.Error("sweep media", "error", err)
		} else if removed > 0 {
			log.Info("sweep media", "removed", removed)
		}
		if store, ok := n.blobs.(interface{ Tidy(context.Context) error }); ok {
			if err := store.Tidy(ctx); err != nil && ctx.Err() == nil {
				log.Error("tidy media", "error", err)
			}
		}
		n.journal.Renew() // what is delivered leaves the folder
		if err := n.matcher.Expire(ctx); err != nil && ctx.Err() == nil {
			log.Error("expire matches", "error", err)
		}
		if err := n.work.rescans.Expire(ctx, time.Now()); err != nil && ctx.Err() == nil {
			log.Error("expire re-scans", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Hour):
		}
	}
}

// saveIndex saves the index from time to time, and at the end, if enough has changed since it was saved as of a change:
// what is not saved is read from the log at the next start. What is spoilt there is replaced at once.
func (n *node) saveIndex(ctx context.Context, dir string, saved uint64, spoilt bool, log *slog.Logger) {
	const enough = 10_000 // changes, which are read in about a second
	wait, diverged := 5*time.Minute, uint64(0)
	if spoilt && n.loaded(ctx) == nil {
		wait = 0
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = 5 * time.Minute
		if d := n.matcher.Follower().Diverged(); d > diverged {
			diverged, spoilt = d, true
		}
		if seq := n.index.Snapshot().Seq(); seq == 0 || seq < saved+enough && !spoilt {
			continue
		}
		began := time.Now()
		seq, err := n.matcher.Follower().Save(context.WithoutCancel(ctx), dir)
		if err != nil {
			log.Error("save the index", "error", err)
			continue
		}
		saved, spoilt = seq, false
		log.Info("index saved", "seq", seq, "took", time.Since(began).Round(time.Millisecond))
	}
}

// tidy gives memory back to the system when a stretch of work has ended: the runtime would keep for
// minutes what the largest uploads took.
func tidy(ctx context.Context) {
	const quiet = 5 * time.Second
	cycles := []metrics.Sample{{Name: "/gc/cycles/automatic:gc-cycles"}}
	var tidied, before uint64 // collections by then
	for {
		metrics.Read(cycles)
		if now := cycles[0].Value.Uint64(); now != before {
			before = now
		} else if now != tidied {
			debug.FreeOSMemory()
			tidied = now
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(quiet):
		}
	}
}

// Close stops what runs, in the reverse order of its start. Nothing that was acknowledged is lost.
func (n *node) Close() error {
	var faults []error
	if n.local != nil {
		ctx, cancel := context.WithTimeout(context.Background(), n.grace)
		faults = append(faults, n.local.Shutdown(ctx))
		cancel()
	}
	if n.stop != nil { // else nothing was started but the socket
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_ = n.journal.Flush(ctx) // what is left is delivered at the next start
		cancel()
		n.stop()
	}
	n.running.Wait()
	if n.work != nil {
		faults = append(faults, n.work.Close())
	}
	if n.history != nil {
		faults = append(faults, n.history.Close())
	}
	faults = append(faults, n.uploads.Close())
	if n.journal != nil {
		faults = append(faults, n.journal.Close())
	}
	if n.pool != nil {
		faults = append(faults, n.pool.Close())
	}
	if n.blobs != nil {
		faults = append(faults, n.blobs.Close())
	}
	if n.store != nil {
		faults = append(faults, n.store.Close())
	}
	if n.lock != nil {
		faults = append(faults, n.lock.Close())
	}
	return errors.Join(faults...)
}

// gauges are the numbers of the rooms that /metrics reads when it is asked.
func gauges(m *api.Metrics, n *node) {
	stats := func(read func(index.Stats) float64) func() float64 {
		return func() float64 {
			if s := n.matcher.Follower().State(); s != nil {
				return read(s.Snapshot.Stats())
			}
			return 0
		}
	}
	m.Gauge("vigie_index_staleness_seconds", "Since the node last knew that it had seen the whole log.", func() float64 { return n.matcher.Follower().Staleness().Seconds() })
	m.Counter("vigie_log_diverged_total", "Times that the catalogue's log turned out to be another one.", func() float64 { return float64(n.matcher.Follower().Diverged()) })
	m.Gauge("vigie_index_seq", "The last change that the index has seen.", stats(func(s index.Stats) float64 { return float64(s.Seq) }))
	m.Gauge("vigie_log_head", "The last change of the log, when this node last looked.", func() float64 { return float64(n.matcher.Follower().Head()) })
	m.Gauge("vigie_index_entries", "Entries with live rows in the index.", stats(func(s index.Stats) float64 { return float64(s.Entries) }))
	algorithms := func(name, help string, read func(index.AlgorithmStats) float64) {
		m.Gauges(name, help, "algorithm", func() map[string]float64 {
			all := map[string]float64{}
			if s := n.matcher.Follower().State(); s != nil {
				for _, a := range hashing.Algorithms() {
					all[a.String()] = read(s.Snapshot.StatsOf(a))
				}
			}
			return all
		})
	}
	algorithms("vigie_index_rows", "Rows of the index, those of deleted banks included.", func(s index.AlgorithmStats) float64 { return float64(s.Rows) })
	algorithms("vigie_index_dead_rows", "Rows that are replaced or removed and still take memory.", func(s index.AlgorithmStats) float64 { return float64(s.Dead) })
	algorithms("vigie_index_bytes", "Memory of the index.", func(s index.AlgorithmStats) float64 { return float64(s.Bytes) })
	algorithms("vigie_index_segments", "Segments of the index, with tables.", func(s index.AlgorithmStats) float64 { return float64(s.Segments) })
	algorithms("vigie_index_deltas", "Stretches of the newest rows, without tables.", func(s index.AlgorithmStats) float64 { return float64(s.Deltas) })
	memory := func(name, help string, read func(index.Memory) int64) {
		m.Gauge(name, help, func() float64 { return float64(read(n.index.Memory())) })
	}
	memory("vigie_memory_limit_bytes", "What the node may take; 0: no limit.", func(m index.Memory) int64 { return m.Limit })
	memory("vigie_memory_used_bytes", "What the node takes: index, segments that were merged and are still read, and Go's heap.", index.Memory.Used)
	memory("vigie_memory_merge_bytes", "What a merge of all rows takes on top.", func(m index.Memory) int64 { return m.Merge })
	memory("vigie_memory_room_bytes", "What is left for new rows; at 0 and below they are refused.", index.Memory.Room)
	m.Gauge("vigie_index_merge_postponed", "1 while a merge waits for memory, else 0.", func() float64 { return float64(oneIf(n.index.Memory().Postponed)) })
	m.Gauge("vigie_memory_huge_bytes", "Memory in huge pages.", func() float64 { return float64(hugeBytes(root())) })
	texts := func(name, help string, read func(text.State) float64) {
		m.Gauge("vigie_text_"+name, help, func() float64 {
			s, ok := n.texts.State()
			s.Rebuilding = s.Rebuilding || !ok
			return read(s)
		})
	}
	texts("seq", "The last change that the text index has seen.", func(s text.State) float64 { return float64(s.Mark.Seq) })
	texts("documents", "Entries in the text index.", func(s text.State) float64 { return float64(s.Documents) })
	texts("bytes", "The text index on disk.", func(s text.State) float64 { return float64(s.Bytes) })
	texts("rebuilding", "1 while the text index is made of the catalogue, or is behind what there was at its start; else 0.",
		func(s text.State) float64 { return float64(oneIf(s.Rebuilding)) })
	texts("fault", "1 while something keeps the text index from the disk, else 0.", func(s text.State) float64 { return float64(oneIf(s.Fault != "")) })
	journals := func(add func(name, help string, read func() float64), name, help string, read func(journal.Stats) float64) {
		add("vigie_journal_"+name, help, func() float64 { return read(n.journal.Stats()) })
	}
	journals(m.Counter, "appended_total", "Records that the journal has acknowledged.", func(s journal.Stats) float64 { return float64(s.Appended) })
	journals(m.Counter, "shipped_total", "Of these, those that were handed on or are lost.", func(s journal.Stats) float64 { return float64(s.Shipped) })
	journals(m.Counter, "lost_total", "Records found damaged since the start.", func(s journal.Stats) float64 { return float64(s.Lost) })
	journals(m.Gauge, "backlog_records", "Records that are not in the catalogue yet.", func(s journal.Stats) float64 { return float64(s.Backlog) })
	journals(m.Gauge, "backlog_bytes", "What they take.", func(s journal.Stats) float64 { return float64(s.Bytes) })
	journals(m.Gauge, "backlog_seconds", "The age of the oldest of them; 0: there is none.", func(s journal.Stats) float64 {
		if s.Oldest.IsZero() {
			return 0
		}
		return time.Since(s.Oldest).Seconds()
	})
	m.Gauge("vigie_database_away", "1 while checks do without the database, since it does not answer; else 0.", func() float64 { return float64(oneIf(n.matcher.Away())) })
	m.Gauge("vigie_decoders_busy", "Decode children at work.", func() float64 { return float64(n.pool.Stats().Busy) })
	m.Gauge("vigie_decode_budget_bytes", "Memory that large pictures may take at a time.", func() float64 { return float64(n.pool.Stats().Budget) })
	m.Gauge("vigie_decode_granted_bytes", "Memory that large pictures have been granted now.", func() float64 { return float64(n.pool.Stats().Granted) })
	m.Counter("vigie_decoders_started_total", "Decode children started.", func() float64 { return float64(n.pool.Stats().Started) })
	for _, reason := range []sandbox.DeathReason{sandbox.DiedTimeout, sandbox.DiedMemory, sandbox.DiedCrash, sandbox.DiedGarbage} {
		m.Counter("vigie_decoders_died_"+string(reason)+"_total", "Decode children that a file cost: "+string(reason)+".",
			func() float64 { return float64(n.pool.Stats().Died[reason]) })
	}
}
