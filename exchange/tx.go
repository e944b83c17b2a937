package exchange

import (
	"slices"
	"strings"

	"vigie/hashing"
	"vigie/hashing/video"
)

// kind is what a list calls the type of a signal.
type kind struct {
	algorithm hashing.Algorithm // invalid if it is none of Vigie's
	frames    bool              // vPDQ: the frames of a video in one text
}

// joiners stand between the parts of a name, or not.
var joiners = strings.NewReplacer("_", "", "-", "", " ", "")

// parseKind reads the names that lists give to algorithms, whatever they say beside of the media:
// pdq, HASH_PDQ, ImagePDQ, md5, video_md5, HASH_VIDEO_MD5, photo_md5, sha256, SHA-256, video_sha256, vpdq ...
func parseKind(name string) kind {
	if len(name) > 40 {
		return kind{}
	}
	name = strings.ToLower(joiners.Replace(name))
	for _, prefix := range []string{"hash", "image", "photo", "video"} {
		name = strings.TrimPrefix(name, prefix)
	}
	if name == "vpdq" {
		return kind{hashing.PDQ, true}
	}
	a, _ := hashing.ParseAlgorithm(name)
	return kind{algorithm: a}
}

// signals reads a text of this kind.
func (k kind) signals(text string) ([]hashing.Signal, *RowError) {
	if !k.algorithm.Valid() {
		return nil, bad(UnknownAlgorithm, "", "accepted are pdq, phash, dhash, ahash, md5, sha256, vpdq, with video_, photo_ or HASH_ before them or not")
	}
	if k.algorithm == hashing.PDQ && strings.HasPrefix(text, "[") {
		return parseFrames(text)
	}
	if k.frames {
		return nil, badSignal(`vpdq is written ["hash,quality,seconds", ...]`)
	}
	s, bad := parseParts(k.algorithm.String(), "", text)
	return []hashing.Signal{s}, bad
}

// parseFrames reads vPDQ's JSON.
func parseFrames(text string) ([]hashing.Signal, *RowError) {
	features, err := video.ReadVPDQ(strings.NewReader(text))
	if err != nil {
		return nil, badSignal("%v", err)
	}
	signals := make([]hashing.Signal, len(features))
	for i, f := range features {
		if signals[i] = f.Signal(); signals[i].Time > maxTime {
			return nil, bad(BadTime, "", "accepted are 0 to %d milliseconds", maxTime)
		}
	}
	return signals, nil
}

// kindOf is what ThreatExchange's tools call an algorithm. They know MD5 and SHA-256 of videos only.
func kindOf(a hashing.Algorithm) string {
	if a.Exact() {
		return "video_" + a.String()
	}
	return a.String()
}

// Opinions of ThreatExchange are kept as labels: INVESTIGATION_SEED is "opinion:investigation_seed".
const (
	opinionPrefix = "opinion:"
	negative      = "NEGATIVE_CLASS"
	seed          = "INVESTIGATION_SEED"
)

// opinions are the categories that an item may have; of several the first is the one that is written.
var opinions = []string{"DISPUTED", "POSITIVE_CLASS", seed}

func opinionLabel(category string) string { return opinionPrefix + strings.ToLower(category) }

// parseCategory reads an opinion. What a list says not to match must not become an entry that matches.
func parseCategory(text string) (label string, _ *RowError) {
	category := strings.ToUpper(text)
	switch {
	case category == negative:
		return "", bad(NegativeOpinion, "", "the list says that it must not match")
	case !slices.Contains(opinions, category):
		return "", bad(BadCategory, "", "accepted are %s", strings.Join(opinions, ", "))
	}
	return opinionLabel(category), nil
}

// categoryOf is the opinion that an item's labels hold, and the labels without it; "" if they hold none.
func categoryOf(labels []string) (string, []string) {
	for _, c := range opinions {
		if n := slices.Index(labels, opinionLabel(c)); n >= 0 {
			return c, slices.Delete(slices.Clone(labels), n, n+1)
		}
	}
	return "", labels
}
