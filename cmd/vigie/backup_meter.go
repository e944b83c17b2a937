package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// meter shows how far a stage of a command is, if a person is watching; otherwise it does nothing.
type meter struct {
	container *mpb.Progress
	bar       *mpb.Bar
	watching  sync.WaitGroup
}

// meter starts one: of bytes, or of whatever else the stage is named by.
func (a *app) meter(stage string, total int64, bytes bool) *meter {
	screen, ok := a.err.(*os.File)
	if a.json || !ok || total <= 0 || !term.IsTerminal(int(screen.Fd())) {
		return &meter{}
	}
	m := &meter{container: mpb.New(mpb.WithOutput(screen), mpb.WithWidth(48))}
	count := decor.CountersNoUnit(stage + " %d of %d ")
	if bytes {
		count = decor.CountersKibiByte(stage + " % .1f of % .1f ")
	}
	m.bar = m.container.AddBar(total, mpb.PrependDecorators(count),
		mpb.AppendDecorators(decor.Percentage(), decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO)))
	return m
}

func (m *meter) add(n int) {
	if m.bar != nil {
		m.bar.IncrBy(n)
	}
}

func (m *meter) set(n int64) {
	if m.bar != nil {
		m.bar.SetCurrent(n)
	}
}

// watch asks now and then how far it is, until ctx ends; end waits for that.
func (m *meter) watch(ctx context.Context, current func() int64) {
	if m.bar == nil {
		return
	}
	m.watching.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(200 * time.Millisecond):
				m.set(current())
			}
		}
	})
}

func (m *meter) end() {
	m.watching.Wait()
	if m.bar != nil {
		m.bar.Abort(true)
		m.container.Wait()
	}
}

// humanBytes is a size for people.
func humanBytes(n int64) string {
	for _, u := range byteUnits {
		if n >= u.size && u.size > 1 {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.suffix)
		}
	}
	return fmt.Sprintf("%d B", n)
}
