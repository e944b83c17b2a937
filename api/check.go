package api

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// Check answers POST /v1/check.
func (s *Server) Check(ctx context.Context, r v1.CheckRequestObject) (v1.CheckResponseObject, error) {
	var q matcher.Question
	var err error
	if r.JSONBody != nil {
		q, err = questionOf(*r.JSONBody)
	} else {
		q, err = s.checkUpload(r.MultipartBody)
	}
	if err != nil {
		return nil, err
	}
	q.Who = who(ctx)
	verdict, err := s.matcher.Check(ctx, q)
	if err != nil {
		return nil, err
	}
	return v1.Check200JSONResponse(verdictOut(verdict)), nil
}

func questionOf(in v1.CheckSignals) (q matcher.Question, err error) {
	if q.Signals, err = signalsIn(in.Signals); err != nil {
		return q, err
	}
	q.ContentID = or(in.ContentId, "")
	if in.Banks != nil {
		q.Banks = *in.Banks
	}
	for _, c := range or(in.Context, nil) {
		q.Context = append(q.Context, string(c))
	}
	q.MinSeq, q.Band = uint64(or(in.MinSeq, 0)), or(in.Band, false)
	q.StopAtFirst, q.VPDQ, q.Past = or(in.StopAtFirst, false), vpdqIn(in.Video), or(in.Past, false)
	return q, nil
}

func (s *Server) checkUpload(mr *multipart.Reader) (q matcher.Question, err error) {
	parts := videoParts(&q)
	maps.Copy(parts, map[string]part{
		"content_id": {take: func(v string) error {
			if n := utf8.RuneCountInString(v); n > maxContentID {
				return refuse(pInvalid, "part content_id: %d characters; accepted are at most %d", n, maxContentID)
			}
			q.ContentID = v
			return nil
		}},
		"banks": {many: true, take: func(v string) error {
			q.Banks = append(q.Banks, list(v)...)
			if n := len(q.Banks); n == 0 || n > maxBanks {
				return refuse(pInvalid, "part banks: %d names; accepted are 1 to %d", n, maxBanks)
			}
			return nil
		}},
		"context": {take: func(v string) error { q.Context = list(v); return nil }},
		"past":    truth("past", &q.Past),
		"min_seq": {take: func(v string) (err error) {
			if q.MinSeq, err = strconv.ParseUint(v, 10, 63); err != nil {
				return refuse(pInvalid, "part min_seq: %q is not a number", v)
			}
			return nil
		}},
	})
	q.Media, _, err = s.readParts(mr, parts)
	return q, err
}

// Bounds that the contract sets for JSON; multipart has no schema to say so.
const (
	maxContentID = 256
	maxBanks     = 1000
)

// part is a text part of a multipart body.
type part struct {
	many bool // it may be repeated
	take func(string) error
}

// truth is a part that says true or false.
func truth(name string, to *bool) part {
	return part{take: func(v string) error {
		if v != "true" && v != "false" {
			return refuse(pInvalid, "part %s: %q; accepted are true and false", name, v)
		}
		*to = v == "true"
		return nil
	}}
}

// readParts reads a multipart body: the part "file" as media, the others by their names. Parts may
// come in any order. The digest is of what they say.
func (s *Server) readParts(mr *multipart.Reader, parts map[string]part) (*hashing.Media, storage.Hash, error) {
	var media *hashing.Media
	var sums partSums
	seen, text := map[string]bool{}, int64(partsBytes)
	for {
		p, err := mr.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, storage.Hash{}, bodyError(err)
		}
		name := p.FormName()
		known, ok := parts[name]
		switch {
		case seen[name] && !known.many:
			return nil, storage.Hash{}, refuse(pInvalid, "two parts named %s; accepted is one", name)
		case name == "file":
			if media, err = s.readFile(p); err == nil {
				sums.add(name, storage.Hash(media.SHA256.Bytes(sha256.Size)))
			}
		case !ok:
			err = refuse(pInvalid, "part %q is not known; accepted are file, %s", name, strings.Join(sortedKeys(parts), ", "))
		default:
			var value string
			if value, err = readText(p, text); err == nil {
				text -= int64(len(value))
				sums.add(name, sha256.Sum256([]byte(value)))
				err = known.take(value)
			}
		}
		if err != nil {
			return nil, storage.Hash{}, err
		}
		seen[name] = true
	}
	if media == nil {
		return nil, storage.Hash{}, refuse(pInvalid, "no part named file")
	}
	return media, sums.sum(), nil
}

// headBytes suffice to tell a video from a picture.
const headBytes = 4096

func (s *Server) readFile(p *multipart.Part) (*hashing.Media, error) {
	in := bufio.NewReaderSize(p, headBytes)
	head, _ := in.Peek(headBytes) // an error comes again
	limit := s.o.Limits.Bytes
	if s.matcher.IsVideo(head) {
		limit = s.o.VideoBytes
	}
	media, err := hashing.ReadMedia(in, limit)
	switch bad, ok := hashing.AsMediaError(err); {
	case ok && bad.Kind == hashing.TooLarge:
		return nil, refuse(pBodyBig, "part file: %s", bad.Detail)
	case err != nil && !ok:
		return nil, bodyError(err)
	}
	return &media, err
}

// readText reads a text part, if it fits into what is left for text.
func readText(p *multipart.Part, left int64) (string, error) {
	text, err := io.ReadAll(io.LimitReader(p, left+1))
	switch {
	case err != nil:
		return "", bodyError(err)
	case int64(len(text)) > left:
		return "", refuse(pInvalid, "part %s: more than %d bytes of text beside the file", p.FormName(), partsBytes)
	}
	return string(text), checkText("part "+p.FormName(), string(text))
}

// bodyError keeps limits and deadlines as they are; everything else that goes wrong while a body is
// read is the sender's.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	if is, _ := classify(err); errors.As(err, &tooLarge) || is != pInternal {
		return err
	}
	return refuse(pInvalid, "the body ends early or is not well-formed: %v", err)
}
