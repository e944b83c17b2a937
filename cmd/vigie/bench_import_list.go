package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"vigie/exchange"
)

// spoilt are ways in which a row of a list is bad, and why it is skipped then: the first ones by the format, the last ones by
// the node.
var spoilt = []struct {
	reason exchange.Reason
	spoil  func(*listRow)
}{
	{exchange.BadHash, func(r *listRow) { r.md5 = r.md5[:31] }},
	{exchange.UnknownAlgorithm, func(r *listRow) { r.md5 = "sha1:" + r.md5 }},
	{exchange.NoSignal, func(r *listRow) { r.pdq, r.md5 = "", "" }},
	{exchange.BadTime, func(r *listRow) { r.at = "yesterday" }},
	{exchange.WrongCells, func(r *listRow) { r.at += ",,,"; r.note = "" }}, // on one line: of several, each would be a bad row
	{"not-active", func(r *listRow) { r.status = exchange.Retracted }},
	{"low-quality", func(r *listRow) { r.quality = 30 }},
	{"invalid", func(r *listRow) { r.origin += strings.Repeat("x", 2000) }},
}

// listRow is a row of a list, as cells.
type listRow struct {
	pdq, md5, labels, note, origin, id, at, status string
	quality                                        int
}

// The words of notes: analysts write in these languages.
var (
	listWords = strings.Fields(`flag banner logo nasheed attack claim channel poster fighter magazine speech convoy hostage drone
		la vidéo le communiqué un combattant revendication drapeau attentat propagande recrutement appel chaîne
		قناة صورة مقطع بيان راية هجوم إصدار نشيد مقاتل دعوة`)
	listLabels = [][2]string{
		{"producer:un_listed", "behaviour:glorification"},
		{"producer:un_listed", "behaviour:recruitment"},
		{"producer:attacker", "behaviour:perpetrator_content"},
		{"tlp:amber", "severity:3"},
	}
)

// makeList writes a list of entries as an exchange has them, each with a PDQ and an MD5, two labels, a note, and whence it
// comes, and says how many of them are bad, and how.
func (b *importBench) makeList(path string) (planted map[exchange.Reason]int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	_, _ = w.WriteString("signals,labels,note,origin,source,foreign_id,created_at,status\n")
	draw := rand.New(rand.NewPCG(b.Seed, 1))
	planted = map[exchange.Reason]int64{}
	bad := 0
	for i := range b.Rows {
		r := drawRow(draw, i)
		if due := int(float64(i+1) * b.Bad / 100); due > bad {
			way := spoilt[bad%len(spoilt)]
			way.spoil(&r)
			planted[way.reason]++
			bad = due
		}
		_, _ = w.WriteString(r.String())
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	return planted, f.Close()
}

func drawRow(draw *rand.Rand, i int) listRow {
	labels := listLabels[draw.IntN(len(listLabels))]
	words := make([]string, 5+draw.IntN(8))
	for i := range words {
		words[i] = listWords[draw.IntN(len(listWords))]
	}
	if i%7 == 0 {
		words[2] = "\n\"" + words[2] + "\""
	}
	return listRow{
		pdq:     fmt.Sprintf("%016x%016x%016x%016x", draw.Uint64(), draw.Uint64(), draw.Uint64(), draw.Uint64()),
		md5:     fmt.Sprintf("%016x%016x", draw.Uint64(), draw.Uint64()),
		quality: 50 + draw.IntN(51),
		labels:  labels[0] + " " + labels[1],
		note:    strings.Join(words, " "),
		origin:  fmt.Sprintf("https://example.org/post/%x", draw.Uint64()),
		id:      fmt.Sprint(i),
		at:      fmt.Sprintf("2026-%02d-%02dT%02d:%02d:00Z", 1+draw.IntN(12), 1+draw.IntN(28), draw.IntN(24), draw.IntN(60)),
	}
}

func (r listRow) String() string {
	var signals []string
	if r.pdq != "" {
		signals = append(signals, fmt.Sprintf("pdq:%s?q=%d", r.pdq, r.quality))
	}
	if r.md5 != "" && !strings.Contains(r.md5, ":") {
		r.md5 = "md5:" + r.md5
	}
	signals = append(signals, r.md5)
	note := `"` + strings.ReplaceAll(r.note, `"`, `""`) + `"`
	return strings.Join([]string{strings.Join(signals, " "), r.labels, note, r.origin, "a list", r.id, r.at, r.status}, ",") + "\n"
}
