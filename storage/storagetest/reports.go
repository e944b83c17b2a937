package storagetest

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"vigie/storage"
)

func testReports(t *testing.T, open Open) {
	group(t, open, map[string]func(*fixture){
		"in place of the one before": func(f *fixture) {
			at := time.Date(2026, 11, 22, 6, 0, 0, 123_000_000, time.UTC)
			full := storage.NodeReport{
				ID: "bbbbbbbb", Name: "host:8080", Version: "v1", StartedAt: at, At: at.Add(time.Second), Stopped: true, Ready: true, LogID: "log",
				Seq: 1 << 40, Head: 1 << 41, Staleness: 1500 * time.Millisecond, Backlog: 7, Sums: []storage.NodeSum{{Seq: 1, Digest: "ab"}, {Seq: 2, Digest: "cd"}},
				Claim: storage.NodeClaim{Number: 3, Place: "here"},
			}
			before, err := f.Head(f.ctx)
			f.must(err)
			f.update(func(w storage.Writer) error {
				f.must(w.ReportNode(storage.NodeReport{ID: "bbbbbbbb", Name: "the first", Sums: []storage.NodeSum{{Seq: 9}}}))
				f.must(w.ReportNode(full))
				return w.ReportNode(storage.NodeReport{ID: "aaaaaaaa", At: at.Add(999)})
			})
			f.view(func(r storage.Reader) error {
				got, err := r.Nodes()
				want := []storage.NodeReport{{ID: "aaaaaaaa", At: at}, full}
				if !reflect.DeepEqual(got, want) {
					f.Errorf("reports are %+v, want %+v", got, want)
				}
				return err
			})
			if after, err := f.Head(f.ctx); err != nil || after != before {
				f.Errorf("reports moved the log from %v to %v, %v", before, after, err)
			}
		},
		"forgotten": func(f *fixture) {
			f.update(func(w storage.Writer) error {
				f.want(w.ForgetNode("aaaaaaaa"), storage.ErrNotFound)
				f.must(w.ReportNode(storage.NodeReport{ID: "aaaaaaaa"}))
				f.must(w.ReportNode(storage.NodeReport{ID: "bbbbbbbb"}))
				return w.ForgetNode("aaaaaaaa")
			})
			f.view(func(r storage.Reader) error {
				got, err := r.Nodes()
				if len(got) != 1 || got[0].ID != "bbbbbbbb" {
					f.Errorf("left are %+v", got)
				}
				return err
			})
		},
		"refused": func(f *fixture) {
			f.update(func(w storage.Writer) error {
				for _, n := range []storage.NodeReport{
					{},
					{ID: "AAAAAAAA"},
					{ID: "aaaaaaaaa"},
					{ID: "aaaaaaaa", Name: strings.Repeat("x", storage.MaxNodeName+1)},
					{ID: "aaaaaaaa", Version: strings.Repeat("x", storage.MaxNodeName+1)},
					{ID: "aaaaaaaa", Claim: storage.NodeClaim{Place: strings.Repeat("x", storage.MaxNodeName+1)}},
					{ID: "aaaaaaaa", Sums: slices.Repeat([]storage.NodeSum{{Seq: 1}}, storage.MaxNodeSums+1)},
				} {
					if w.ReportNode(n) == nil {
						f.Errorf("taken: %.100v", n)
					}
				}
				return nil
			})
		},
	})
}
