package text

import "unicode"

// languages says in which languages a note is stemmed, besides being folded: Arabic if it has Arabic letters; if it has
// Latin ones, the one of French and English of which it has more of the commonest words, and both if that does not
// decide, as in most notes of two or three words. A wrong guess costs other forms of a word, never the word itself.
func languages(note string) []string {
	var out []string
	var latin bool
	for _, r := range note {
		switch {
		case unicode.Is(unicode.Arabic, r) && unicode.IsLetter(r):
			if len(out) == 0 {
				out = append(out, "ar")
			}
		case unicode.Is(unicode.Latin, r):
			latin = true
		}
		if latin && len(out) > 0 {
			break
		}
	}
	if !latin {
		return out
	}
	french, english := 0, 0
	for _, w := range Fold(note) {
		switch commonest[w] {
		case "fr":
			french++
		case "en":
			english++
		}
	}
	switch {
	case french > english:
		return append(out, "fr")
	case english > french:
		return append(out, "en")
	}
	return append(out, "fr", "en")
}

// languagesOf says in which languages a word of a query is stemmed: all of its script, and none if it is not made of
// letters, and apostrophes, alone.
func languagesOf(word string) []string {
	arabic, latin := false, false
	for _, r := range word {
		switch {
		case r == '\'' || r == '’' || unicode.IsMark(r):
		case !unicode.IsLetter(r):
			return nil
		case unicode.Is(unicode.Arabic, r):
			arabic = true
		case unicode.Is(unicode.Latin, r):
			latin = true
		default:
			return nil
		}
	}
	switch {
	case arabic && !latin:
		return []string{"ar"}
	case latin && !arabic:
		return []string{"fr", "en"}
	}
	return nil
}

// commonest are frequent words, folded, that one of the languages has and the other has not.
var commonest = func() map[string]string {
	all := map[string]string{}
	for language, words := range map[string]string{
		"fr": `le la les des du une et est dans pour sur avec par que qui ce cette au aux ses sont pas il elle nous vous ou leur`,
		"en": `the of and to in is for with by that this from at an are was were it its be not has have his their which`,
	} {
		for _, w := range Fold(words) {
			all[w] = language
		}
	}
	return all
}()
