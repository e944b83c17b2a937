package main

import (
	"path/filepath"
	"strconv"
	"testing"

	v1 "vigie/api/v1"
)

// TestTextAndJournalMetrics reads the numbers of the text index and of the journal after a flag and a match.
func TestTextAndJournalMetrics(t *testing.T) {
	t.Parallel()
	n := &target{t: t, served: serve(t, filepath.Join(t.TempDir(), "data"), nil)}
	n.admin = n.key(t, v1.Admin)
	if _, err := post[v1.Bank](n.served, n.admin, "/v1/banks", v1.NewBank{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	digest := v1.Signals{{Algorithm: v1.Md5, Value: "00112233445566778899aabbccddeeff"}}
	flagged, err := post[v1.Flagged](n.served, n.admin, "/v1/banks/b/entries", v1.FlagSignals{Signals: digest})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := post[v1.Verdict](n.served, n.admin, "/v1/check", v1.CheckSignals{Signals: digest}); err != nil || v.Match == nil {
		t.Fatalf("no match: %+v, %v", v, err)
	}
	for name, want := range map[string]string{
		"vigie_text_seq":                strconv.FormatInt(flagged.Seq, 10),
		"vigie_text_documents":          "1",
		"vigie_text_rebuilding":         "0",
		"vigie_text_fault":              "0",
		"vigie_journal_appended_total":  "2", // the match, and that the key signed in
		"vigie_journal_shipped_total":   "2",
		"vigie_journal_lost_total":      "0",
		"vigie_journal_backlog_records": "0",
		"vigie_journal_backlog_bytes":   "0",
		"vigie_journal_backlog_seconds": "0",
	} {
		eventually(t, name+" is "+want, func() bool { return n.metric(name) == want })
	}
	if bytes, err := strconv.ParseFloat(n.metric("vigie_text_bytes"), 64); err != nil || bytes < 1000 {
		t.Errorf("vigie_text_bytes is %v, %v", bytes, err)
	}
}
