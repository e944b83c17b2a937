package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	v1 "vigie/api/v1"
	"vigie/fixtures"
)

type loadBenchCmd struct {
	For      time.Duration `help:"How long to offer twice of what the node can do." default:"60s"`
	Keys     int           `help:"Keys that send: the first one half of the load, the last one a request a second, the others the rest." default:"8"`
	Pictures int           `help:"How many of a hundred checks are of pictures; the others are of signals." default:"30"`
	Entries  int           `help:"Entries that are flagged before." default:"1000"`
	Step     time.Duration `help:"How long each step takes by which the capacity is found." default:"3s"`
	Seed     uint64        `help:"Seed of what is sent, and when." default:"1"`
	Media    string        `arg:"" optional:"" help:"Folder of pictures to send; else some that are built in." type:"existingdir"`
	benchFiles
}

// Run finds what a node can do, and offers it half of that and twice of that. With --server it is that node, by
// the one key that there is; else one of its own on this machine, which gets one half of the processors, and what sends the other.
func (c *loadBenchCmd) Run(ctx context.Context, a *app) error {
	if c.For < time.Second || c.Step < 100*time.Millisecond || c.Keys < 2 || c.Pictures < 0 || c.Pictures > 100 || c.Entries < 0 {
		return usagef("--for, --step, --keys, --pictures or --entries: accepted are 1s, 100ms, 2 and more, 0 to 100, 0 and more")
	}
	b := &loadBench{loadBenchCmd: c, app: a}
	if err := b.find(ctx); err != nil {
		return err
	}
	defer b.stop()
	var err error
	if b.wire, err = newWire(b.url); err != nil {
		return err
	}
	defer b.wire.Close()
	report, err := b.measure(ctx)
	if err != nil {
		return err
	}
	if err := c.publish(a.printer, report); err != nil {
		return err
	}
	return report.verdict()
}

// loadBench is a run of it.
type loadBench struct {
	*loadBenchCmd
	*app
	url        string
	pid        int // of the node, if it is its own; else 0
	processors int // that the node has for itself; 0: it shares them with this process
	keys       []string
	stop       func()
	wire       *wire
	known      []v1.Signal // flagged, or not
	asked      [][]byte    // bodies that ask for these
	forms      []formed    // of pictures
}

// formed is a multipart body.
type formed struct {
	contentType string
	body        []byte
}

// mostUnderWay bounds what is sent and not answered.
const mostUnderWay = 4096

// kindOf is what a check asks about.
type kindOf int

const (
	ofSignals kindOf = iota
	ofPicture
	kinds
)

func (k kindOf) String() string { return [...]string{"signals", "picture"}[k] }

// shot is one request and what became of it. Times are since the begin of the phase.
type shot struct {
	kind            kindOf
	key             int
	due, sent, done time.Duration
	status          int // 0: no answer
}

// measure goes through the phases.
func (b *loadBench) measure(ctx context.Context) (*loadReport, error) {
	r := &loadReport{Processors: runtime.NumCPU(), Apart: b.processors, Own: b.pid != 0, Keys: len(b.keys), Pictures: b.loadBenchCmd.Pictures, Entries: b.Entries}
	if err := b.prepare(); err != nil {
		return nil, err
	}
	if err := b.ramp(ctx, r); err != nil {
		return nil, err
	}
	half := min(max(b.For/4, 2*time.Second), time.Minute)
	shown := b.countdown(int((half+b.For)/time.Second), "seconds")
	defer shown.end()
	for _, p := range []struct {
		name string
		load float64
		time time.Duration
	}{{"half", .5, half}, {"twice", 2, b.For}} {
		phase := b.phase(ctx, p.name, p.load*r.Capacity, p.time, shown.done)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.Phases = append(r.Phases, phase)
	}
	var err error
	r.Recovery, err = b.recovery(ctx, r.Phases[0])
	if b.pid != 0 {
		r.ResidentAfter = residentOf(b.pid)
	}
	return r, err
}

// ramp finds how many checks a second the node answers, at most, however many ask at a time and wait for their answers. Who
// is refused asks the same again.
func (b *loadBench) ramp(ctx context.Context, r *loadReport) error {
	for workers := 1; workers <= 64; workers *= 2 {
		var shots []shot
		var mu sync.Mutex
		began := time.Now()
		g, asking := errgroup.WithContext(ctx)
		for w := range workers {
			g.Go(func() error {
				draw := rand.New(rand.NewPCG(b.Seed, uint64(workers)<<16|uint64(w)))
				for what := draw.Uint64(); time.Since(began) < b.Step; {
					s := b.shoot(asking, what, w%len(b.keys), began, time.Since(began))
					if asking.Err() != nil {
						return asking.Err()
					}
					mu.Lock()
					shots = append(shots, s)
					mu.Unlock()
					if s.status == http.StatusOK {
						what = draw.Uint64()
					} else { // the same again, or the cheap ones would be served in place of the others
						time.Sleep(20 * time.Millisecond)
					}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		took := time.Since(began)
		accepted := 0
		for _, s := range shots {
			switch s.status {
			case http.StatusOK:
				accepted++
			case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			default:
				return fmt.Errorf("a check was answered with status %d (0: not at all) before there was any load", s.status)
			}
		}
		rate := float64(accepted) / took.Seconds()
		r.Ramp = append(r.Ramp, rampStep{workers, rate})
		r.Capacity = max(r.Capacity, rate)
	}
	if r.Capacity == 0 {
		return errors.New("no check was answered")
	}
	return nil
}

// phase offers checks at a rate, at times that are chance, whether or not those before were answered.
func (b *loadBench) phase(ctx context.Context, name string, rate float64, length time.Duration, tick func()) loadPhase {
	var (
		mu    sync.Mutex
		shots = make([]shot, 0, int(rate*length.Seconds()*1.1))
		group sync.WaitGroup
		under atomic.Int64
	)
	draw := rand.New(rand.NewPCG(b.Seed, uint64(rate*1000)))
	began := time.Now()
	watched, stop := context.WithCancel(ctx)
	seconds := make(chan []loadSecond)
	go func() { seconds <- b.watch(watched, began, &under, tick) }()
	quiet := time.Duration(0) // when the last key is to send again
	for due := time.Duration(0); due < length && ctx.Err() == nil; due += time.Duration(draw.ExpFloat64() / rate * float64(time.Second)) {
		if wait := due - time.Since(began); wait > 0 {
			time.Sleep(wait)
		}
		key := 0
		switch last := len(b.keys) - 1; {
		case due >= quiet:
			key, quiet = last, due+time.Second
		case last > 1 && draw.IntN(2) == 0:
			key = 1 + draw.IntN(last-1)
		}
		what := draw.Uint64()
		if under.Load() >= mostUnderWay { // it does not answer any more
			mu.Lock()
			shots = append(shots, shot{kind: b.kind(what), key: key, due: due, sent: due, done: due})
			mu.Unlock()
			continue
		}
		under.Add(1)
		group.Go(func() {
			s := b.shoot(ctx, what, key, began, due)
			under.Add(-1)
			mu.Lock()
			shots = append(shots, s)
			mu.Unlock()
		})
	}
	group.Wait()
	took := max(length, time.Since(began))
	stop()
	return phaseOf(name, rate, length, took, shots, len(b.keys), <-seconds)
}

// kind is that of a check, by its number of chance.
func (b *loadBench) kind(what uint64) kindOf {
	if int(what%100) < b.loadBenchCmd.Pictures {
		return ofPicture
	}
	return ofSignals
}

// shoot sends a check and waits for the answer.
func (b *loadBench) shoot(ctx context.Context, what uint64, key int, began time.Time, due time.Duration) shot {
	s := shot{kind: b.kind(what), key: key, due: due, sent: time.Since(began)}
	f := formed{"application/json", b.asked[what/100%uint64(len(b.asked))]}
	if s.kind == ofPicture {
		f = b.forms[what/100%uint64(len(b.forms))]
	}
	s.status = b.wire.post(ctx, "/v1/check", b.keys[key], f.contentType, f.body)
	s.done = time.Since(began)
	return s
}

// watch notes every second what the node takes and what is under way.
func (b *loadBench) watch(ctx context.Context, began time.Time, under *atomic.Int64, tick func()) (seconds []loadSecond) {
	for at := time.Second; ; at += time.Second {
		select {
		case <-ctx.Done():
			return seconds
		case <-time.After(time.Until(began.Add(at))):
		}
		s := loadSecond{Second: len(seconds), UnderWay: int(under.Load())}
		if b.pid != 0 {
			s.Resident = residentOf(b.pid)
		}
		seconds = append(seconds, s)
		tick()
	}
}

// recovery is how long after the load stopped a key that sends one check after the other is served as it was under half
// of the load: ten times of each kind in a row accepted, and none of them slower than the slowest hundredth then.
func (b *loadBench) recovery(ctx context.Context, before loadPhase) (float64, error) {
	const patience, enough = time.Minute, 10
	began := time.Now()
	draw := rand.New(rand.NewPCG(b.Seed, 3))
	served, since := [kinds]int{}, time.Duration(0)
	for time.Since(began) < patience {
		at := time.Since(began)
		s := b.shoot(ctx, draw.Uint64(), len(b.keys)-1, began, at)
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case s.status != http.StatusOK || float64((s.done-s.sent).Microseconds()) > before.Kinds[s.kind].Sent.P99+1000:
			served = [kinds]int{}
			since = time.Since(began)
			continue
		}
		served[s.kind]++
		if (served[ofSignals] >= enough || b.loadBenchCmd.Pictures == 100) && (served[ofPicture] >= enough || b.loadBenchCmd.Pictures == 0) {
			return since.Seconds(), nil
		}
	}
	return patience.Seconds(), nil
}

// prepare makes what is sent: signals of which half are near an entry, and bodies with pictures.
func (b *loadBench) prepare() error {
	draw := rand.New(rand.NewPCG(b.Seed, 1))
	for len(b.known) < 1000 {
		b.known = append(b.known, randomSignal(draw))
	}
	for _, signal := range b.known {
		body, err := json.Marshal(v1.CheckSignals{Signals: v1.Signals{signal}})
		if err != nil {
			return err
		}
		b.asked = append(b.asked, body)
	}
	add := func(picture []byte) error {
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		part, err := w.CreateFormFile("file", "upload")
		if err == nil {
			_, err = part.Write(picture)
		}
		b.forms = append(b.forms, formed{w.FormDataContentType(), nil})
		err = errors.Join(err, w.Close())
		b.forms[len(b.forms)-1].body = body.Bytes()
		return err
	}
	if b.Media == "" {
		for _, name := range fixtures.Pictures() {
			if err := add(fixtures.Read(name)); err != nil {
				return err
			}
		}
		return nil
	}
	files, err := os.ReadDir(b.Media)
	if err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(b.Media, f.Name())
		if info, err := f.Info(); err != nil || !f.Type().IsRegular() || info.Size() > int64(b.MaxBytes) || info.Size() == 0 {
			continue
		}
		picture, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := add(picture); err != nil {
			return err
		}
		if len(b.forms) == 1000 {
			break
		}
	}
	if len(b.forms) == 0 {
		return usagef("%s: holds no files of 1 to %v bytes", b.Media, b.MaxBytes)
	}
	return nil
}

// randomSignal is a PDQ hash as pictures have it: half of its bits are set.
func randomSignal(draw *rand.Rand) v1.Signal {
	bits := slices.Repeat([]byte{0, 1}, 128)
	draw.Shuffle(len(bits), func(i, j int) { bits[i], bits[j] = bits[j], bits[i] })
	value := make([]byte, 32)
	for i, bit := range bits {
		value[i/8] |= bit << (i % 8)
	}
	quality := 100
	return v1.Signal{Algorithm: v1.Pdq, Value: fmt.Sprintf("%x", value), Quality: &quality}
}
