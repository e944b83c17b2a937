package api

import (
	"encoding/json"
	"testing"
	"time"

	"vigie/matcher"
)

// TestShownPast: what is answered of past uploads, word by word; a search that was cut says so, and at how many.
func TestShownPast(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for want, p := range map[string]matcher.PastUploads{
		`{"complete":true,"others":2,"own":[{"content_id":"post 1","distance":3,"uploaded_at":"2026-11-22T10:00:00Z"}],"own_total":1,"partial":false,"since":"2026-11-22T10:00:00Z"}`: {
			Own: []matcher.PastHit{{ContentID: "post 1", At: at, Distance: 3}}, OwnTotal: 1, Others: 2, Since: at, Complete: true,
		},
		`{"complete":false,"cut_at":100000,"others":0,"own":[],"own_total":0,"partial":true}`: {Partial: true, CutAt: 100000},
	} {
		got, err := json.Marshal(shownPast(&p))
		if err != nil || string(got) != want {
			t.Errorf("%s, want %s, %v", got, want, err)
		}
	}
}
