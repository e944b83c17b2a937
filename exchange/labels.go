package exchange

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Labels are read leniently: a row that is worth matching is not lost to the words beside it. What is spelt otherwise becomes
// the label that it means; what no label can say stays in the note, as the list has it.

// spelled is a label of another list as Vigie spells it: in small letters, with hyphens for spaces, as name:value where others
// write name=value, and with the Traffic Light Protocol in its version 2.0. Same says that nothing was lost by that.
func spelled(words string) (label string, same bool) {
	words = trim(words)
	if labelName.MatchString(words) {
		return words, true
	}
	label = strings.ToLower(words)
	if name, value, named := cutName(label); named {
		if name == "tlp" {
			value = tlp(value)
		}
		label = name + ":" + value
	}
	label, same = strings.ReplaceAll(label, " ", "-"), !strings.Contains(label, " ")
	return label, same && labelName.MatchString(label)
}

// cutName cuts `name:value` and `name = value`.
func cutName(words string) (name, value string, named bool) {
	at := strings.IndexAny(words, ":=")
	if at <= 0 {
		return "", words, false
	}
	return trim(words[:at]), trim(words[at+1:]), true
}

// tlp is a level of the Traffic Light Protocol, which calls WHITE CLEAR since 2.0; labels have no plus.
func tlp(level string) string { return strings.NewReplacer("white", "clear", "+", "-").Replace(level) }

// label adds a label made of the words of another list, and reports whether it says the same.
func (d *draft) label(words string) bool {
	label, same := spelled(words)
	if labelName.MatchString(label) && !slices.Contains(d.Labels, label) {
		if len(d.Labels) < maxLabels {
			d.Labels = append(d.Labels, label)
		} else {
			same = false
		}
	}
	if !same {
		d.Noted++
	}
	return same
}

// named adds the cell of a column as a label behind a name, which the cell may have before it, too.
func (d *draft) named(name, column, cell string) {
	value := trim(cell)
	if given, rest, ok := cutName(value); ok && strings.EqualFold(given, name) {
		value = rest
	}
	if value = strings.ToLower(value); name == "tlp" {
		value = tlp(value)
	}
	d.remark(column, cell, d.label(name+":"+value))
}

// setLabels takes the labels of Vigie's own column as they are, also if one stands twice, and others as tags.
func setLabels(d *draft, cell string) *RowError {
	own := strings.Fields(cell)
	if len(own) > maxLabels || slices.ContainsFunc(own, func(l string) bool { return !labelName.MatchString(l) }) {
		d.labels("labels", cell, apart(cell))
		return nil
	}
	d.Labels = append(d.Labels, own...)
	return nil
}

// setTags makes labels of tags.
func setTags(d *draft, cell string) *RowError {
	tags := apart(cell)
	if d.format == TXCSV {
		tags = strings.Fields(cell)
	}
	d.labels("tags", cell, tags)
	return nil
}

// apart cuts what stands between commas, semicolons or bars, or else between spaces.
func apart(cell string) []string {
	if strings.ContainsAny(cell, ",;|") {
		return strings.FieldsFunc(cell, func(r rune) bool { return strings.ContainsRune(",;|", r) })
	}
	return strings.Fields(cell)
}

func (d *draft) labels(column, cell string, labels []string) {
	complete := true
	for _, l := range labels {
		if l = trim(l); l != "" {
			complete = d.label(l) && complete
		}
	}
	d.remark(column, cell, complete)
}

// remark keeps in the note what labels do not say.
func (d *draft) remark(column, cell string, said bool) {
	if !said {
		d.remarks = append(d.remarks, column+": "+cell)
	}
}

// annotated is a note with remarks behind it, cut to what a note may hold.
func annotated(note string, remarks []string) string {
	const cut = "..."
	text := strings.Join(remarks, "\n")
	if note != "" && text != "" {
		text = "\n" + text
	}
	room := maxNote - len(note)
	switch {
	case len(text) <= room:
		return note + text
	case room <= len(cut):
		return note
	}
	end := room - len(cut)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return note + text[:end] + cut
}
