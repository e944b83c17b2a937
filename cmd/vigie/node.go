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
	"vigie/storage/journal"
	"vigie/storage/media"
	"vigie/storage/sqlstore"
)

// decodeChild is the hidden command by which package sandbox starts this program as a decode child.
const (
	decodeChild      = "decode-child"
	sandboxTestHooks = "VIGIE_DECODE_TEST_HOOKS"
)

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

// Files of a data folder.
const (
	catalogueFile = "catalogue.db"
	mediaFolder   = "media"
	indexFolder   = "index" // may be removed when no process owns the folder: it is made of the catalogue again
	textFolder    = "text"  // likewise
	socketFile    = "vigie.sock"
)

// node is everything that runs on a data folder, wired. Whoever owns the folder serves its socket.
type node struct {
	lock    *datadir.Lock
	store   *sqlstore.Store
	blobs   *media.Folder
	pool    *sandbox.Pool
	index   *index.Index
	journal *journal.Journal
	texts   *matcher.Texts
	matcher *matcher.Matcher
	api     *api.Server
	metrics *api.Metrics
	local   *http.Server  // on the socket
	grace   time.Duration // for its requests, when it closes

	stop    context.CancelFunc
	running sync.WaitGroup
}

// errNoFolder says that there is nothing to ask: a mistyped --data must not be answered with "none".
var errNoFolder = errors.New("there is no data folder")

// needFolder is errNoFolder if the folder holds no catalogue.
func needFolder(data string) error {
	_, err := os.Stat(filepath.Join(data, catalogueFile))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w at %s; vigie serve, vigie banks create and vigie keys create make one", errNoFolder, data)
	}
	return err
}

// openNode wires the rooms on a data folder and starts to follow the log. storage.ErrLocked if
// another process owns the folder. serving is false within a command. log may be nil.
func openNode(ctx context.Context, c *Config, serving bool, log *slog.Logger) (_ *node, err error) {
	n := &node{}
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
	if n.store, err = sqlstore.OpenSQLite(ctx, filepath.Join(c.Data, catalogueFile), storage.Options{}); err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	if n.blobs, err = media.OpenFolder(filepath.Join(c.Data, mediaFolder)); err != nil {
		return nil, fmt.Errorf("open the media folder: %w", err)
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
	events := metrics.Watch(matcher.Events{Fault: func(err error) { log.Error("follower", "error", err) }})
	memory := c.MemoryLimit.of(availableMemory(root()))
	log.Info("memory", "limit", memory)
	n.index, err = matcher.OpenIndex(ctx, n.store, filepath.Join(c.Data, indexFolder), index.Options{
		MemoryLimit: memory, Copied: c.CopyIndex,
		Fault: func(err error) { log.Error("index", "error", err) },
		Shadow: func(s index.Shadow) {
			metrics.Shadow(s.Err == nil)
			if s.Err != nil {
				log.Error("THE INDEX GIVES WRONG ANSWERS: stop the node, remove the folder index, start it again, and report this", "error", s.Err)
			}
		},
	})
	spoilt, saved := err != nil, n.index.Snapshot().Seq()
	if spoilt {
		log.Error("the saved index is of no use, and is made of the catalogue again", "error", err)
	}
	if n.journal, err = journal.Open(filepath.Join(c.Data, journalFolder), journal.Options{
		Fault: func(err error) { log.Error("journal", "error", err) },
	}); err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	n.texts = matcher.NewTexts(n.store, filepath.Join(c.Data, textFolder), func(err error) { log.Error("text index", "error", err) })
	if serving {
		n.texts.Want()
	}
	admission := api.NewAdmission(api.AdmissionOptions{
		Decoders: c.Decoders, WasmDecoders: c.WasmDecoders, VideoDecoders: c.VideoDecoders,
		SearchWait: c.SearchWait, DecodeWait: c.DecodeWait, Rate: c.Rate, Burst: c.Burst, Metrics: metrics,
	})
	n.matcher = matcher.New(metrics.Catalogue(n.store), n.blobs, admission.Hasher(n.pool), n.index, matcher.Options{
		Events: events, Videos: admission.Videos(videos), Texts: n.texts,
		Journal: n.journal, Render: api.RenderVerdict, Ship: n.journal.Flush, Reach: n.journal.Reach,
	})
	gauges(metrics, n)

	n.api, err = api.New(n.matcher, n.store, api.Options{
		Limits: c.limits(), VideoBytes: int64(c.MaxVideoBytes), UploadMemory: int64(c.UploadMemory), BodyTime: c.BodyTimeout, BatchLines: c.BatchLines,
		Version: buildinfo.Version(), Serving: serving, Logger: log, Metrics: metrics,
		PrivateMetrics: c.ListenPrivate != "", Admission: admission, WorkTime: c.VideoTimeout + time.Minute, TrustedProxies: c.TrustedProxies,
	})
	if err != nil {
		return nil, err
	}
	socket, err := listenSocket(c.Data)
	if err != nil {
		return nil, err
	}
	n.local, n.grace = n.server(), 5*time.Second+c.VideoTimeout
	n.local.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return api.TrustLocal(ctx) }
	n.running.Go(func() { _ = n.local.Serve(socket) })

	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	n.stop = stop
	n.running.Go(func() { _ = n.matcher.Follower().Run(following) })
	n.running.Go(func() { _ = n.texts.Run(following) })
	n.running.Go(func() { _ = n.journal.Ship(following, n.matcher.Deliver) })
	n.running.Go(func() { n.sweep(following, log) })
	n.running.Go(func() { n.saveIndex(following, filepath.Join(c.Data, indexFolder), saved, spoilt, log) })
	n.running.Go(func() { tidy(following) })
	n.running.Go(func() { watchMemory(following, n.index, log) })
	return n, nil
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

// server is an HTTP server for the node's API. Bodies have deadlines of their own, in api.
func (n *node) server() *http.Server {
	return &http.Server{
		Handler: n.api.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
}

// sweep removes media of unfinished flags, and what is older than it is kept, at once and then each hour.
func (n *node) sweep(ctx context.Context, log *slog.Logger) {
	for {
		removed, err := n.matcher.Sweep(ctx)
		if err != nil && ctx.Err() == nil {
			log.Error("sweep media", "error", err)
		} else if removed > 0 {
			log.Info("sweep media", "removed", removed)
		}
		n.journal.Renew() // what is delivered leaves the folder
		if err := n.matcher.Expire(ctx); err != nil && ctx.Err() == nil {
			log.Error("expire matches", "error", err)
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
	wait := 5 * time.Minute
	if spoilt && n.loaded(ctx) == nil {
		wait = 0
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = 5 * time.Minute
		if seq := n.index.Snapshot().Seq(); seq == 0 || seq < saved+enough && !spoilt {
			continue
		}
		began := time.Now()
		seq, err := matcher.SaveIndex(context.WithoutCancel(ctx), n.store, n.index, dir)
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
	if n.stop != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_ = n.journal.Flush(ctx) // what is left is delivered at the next start
		cancel()
		n.stop()
	}
	n.running.Wait()
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
	m.Gauge("vigie_index_seq", "The last change that the index has seen.", stats(func(s index.Stats) float64 { return float64(s.Seq) }))
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
	m.Gauge("vigie_decoders_busy", "Decode children at work.", func() float64 { return float64(n.pool.Stats().Busy) })
	m.Gauge("vigie_decode_budget_bytes", "Memory that large pictures may take at a time.", func() float64 { return float64(n.pool.Stats().Budget) })
	m.Gauge("vigie_decode_granted_bytes", "Memory that large pictures have been granted now.", func() float64 { return float64(n.pool.Stats().Granted) })
	m.Counter("vigie_decoders_started_total", "Decode children started.", func() float64 { return float64(n.pool.Stats().Started) })
	for _, reason := range []sandbox.DeathReason{sandbox.DiedTimeout, sandbox.DiedMemory, sandbox.DiedCrash, sandbox.DiedGarbage} {
		m.Counter("vigie_decoders_died_"+string(reason)+"_total", "Decode children that a file cost: "+string(reason)+".",
			func() float64 { return float64(n.pool.Stats().Died[reason]) })
	}
}
