package video_test

import (
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/hashing/sandbox"
	"vigie/hashing/video"
	"vigie/internal/datatest"
)

// BenchmarkVideo hashes 30 s of 854 x 480 made by ffmpeg, and two real videos if there is the test data.
// cpu-ms is all the processor time of one video: ffmpeg-ms, from the start of the sandbox, and this
// process.
func BenchmarkVideo(b *testing.B) {
	videos := []struct {
		name string
		data []byte
	}{{"480p-30s", generate(b, "480p.mp4", "-i", "testsrc2=size=854x480:rate=30:duration=30", "-vf", "noise=alls=6:allf=t", "-preset", "veryfast", "-crf", "28")}}
	if dir := datatest.Find(); dir != "" {
		for _, name := range []string{"chair-19-sd-bar.mp4", "bottle-detection.mp4"} {
			videos = append(videos, struct {
				name string
				data []byte
			}{name, read(b, dir, "videos", name)})
		}
	}
	var child atomic.Int64
	d := newDecoder(b, video.Options{Used: func(u sandbox.Usage) { child.Add(int64(u.CPU)) }})
	for _, v := range videos {
		for _, mode := range []struct {
			name string
			o    hashing.VideoOptions
		}{{"keyframes", hashing.VideoOptions{Keyframes: true}}, {"second", hashing.VideoOptions{}}} {
			b.Run(filepath.Join(v.name, mode.name), func(b *testing.B) {
				child.Store(0)
				kept := 0
				own := processorTime()
				for b.Loop() {
					told, err := d.Video(b.Context(), v.data, mode.o, func(hashing.Frame) error { return nil })
					if err != nil {
						b.Fatal(err)
					}
					kept = told.Frames
				}
				perVideo := func(t time.Duration) float64 { return float64(t.Microseconds()) / 1000 / float64(b.N) }
				b.ReportMetric(perVideo(processorTime()-own+time.Duration(child.Load())), "cpu-ms")
				b.ReportMetric(perVideo(time.Duration(child.Load())), "ffmpeg-ms")
				b.ReportMetric(float64(kept), "frames")
			})
		}
	}
}

// processorTime is what this process has taken, its children left out.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
