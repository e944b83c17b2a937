package exchange

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"vigie/hashing"
)

// jsonItem and jsonSignal are a line of NDJSON as it is written: the words of the API's FlagSignals, and
// further ones.
type jsonItem struct {
	Signals   []jsonSignal `json:"signals"`
	ExactOnly bool         `json:"exact_only,omitempty"`
	Labels    []string     `json:"labels,omitempty"`
	Note      string       `json:"note,omitempty"`
	Origin    string       `json:"origin,omitempty"`
	Source    string       `json:"source,omitempty"`
	Foreign   string       `json:"foreign_id,omitempty"`
	CreatedAt string       `json:"created_at,omitempty"`
	Status    string       `json:"status,omitempty"`
	Media     jsonMedia    `json:"media,omitzero"`
	More      []jsonSource `json:"more_sources,omitempty"`
	ExpiresAt string       `json:"expires_at,omitempty"`
}

type jsonSource struct {
	Origin    string `json:"origin,omitempty"`
	Source    string `json:"source,omitempty"`
	Foreign   string `json:"foreign_id,omitempty"`
	CreatedAt string `json:"created_at,omitempty"`
}

type jsonMedia struct {
	Format     string `json:"format,omitempty"`
	Width      int    `json:"width,omitempty"`
	Height     int    `json:"height,omitempty"`
	Bytes      int64  `json:"bytes,omitempty"`
	DurationMS int64  `json:"duration_ms,omitempty"`
}

// jsonSignal leaves out what appendSignal leaves out.
type jsonSignal struct {
	Algorithm string `json:"algorithm"`
	Variant   string `json:"variant,omitempty"`
	Value     string `json:"value"`
	Quality   *uint8 `json:"quality,omitempty"`
	TimeMS    uint32 `json:"time_ms,omitempty"`
	Version   *uint8 `json:"version,omitempty"`
}

func jsonOf(i Item) jsonItem {
	out := jsonItem{
		ExactOnly: i.ExactOnly, Labels: i.Labels, Note: i.Note, Origin: i.Origin, Source: i.Source, Foreign: i.Foreign,
		CreatedAt: formatTime(i.CreatedAt), Status: i.Status, Media: jsonMedia(i.Media), More: jsonSources(i.More), ExpiresAt: formatTime(i.ExpiresAt),
	}
	for _, s := range i.Signals {
		j := jsonSignal{Algorithm: s.Algorithm.String(), Variant: s.Variant.String(), Value: s.Hex(), TimeMS: s.Time}
		if s.Quality != hashing.QualityUnknown && !s.Algorithm.Exact() {
			j.Quality = (*uint8)(&s.Quality)
		}
		if !s.Algorithm.Exact() || s.Version != s.Algorithm.Version() {
			j.Version = &s.Version
		}
		out.Signals = append(out.Signals, j)
	}
	return out
}

func jsonSources(more []Source) (out []jsonSource) {
	for _, s := range more {
		out = append(out, jsonSource{s.Origin, s.List, s.Foreign, formatTime(s.CreatedAt)})
	}
	return out
}

// jsonText is JSON as it is written: what HTML would take for its own stays as it is.
func jsonText(v any) ([]byte, error) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return line.Bytes(), err
}

// parseJSON reads a line of NDJSON, token by token: encoding/json would take a member that stands twice, of
// other capitals, or null, and makes whole lists of what the first element shows to be none.
func parseJSON(row string) (Item, *RowError) {
	if err := checkText("", row); err != nil {
		return Item{}, err
	}
	t := tokensOf(row)
	var i draft
	err := t.object(func(name string) *RowError { return t.item(&i, name) })
	if err != nil {
		return Item{}, err
	}
	if err := t.end(); err != nil {
		return Item{}, err
	}
	if len(i.Signals) == 0 {
		return Item{}, bad(NoSignal, "signals", "none; accepted is at least one")
	}
	i.Note = annotated(i.Note, i.remarks)
	return i.Item, nil
}

func (t tokens) item(i *draft, name string) (err *RowError) {
	switch name {
	case "signals":
		return t.array(func() *RowError {
			s, err := t.signal()
			i.Signals = append(i.Signals, s)
			return err
		})
	case "labels":
		var odd []string
		err = t.array(func() *RowError {
			l, err := t.text()
			switch {
			case err != nil:
				return err
			case labelName.MatchString(l) && len(i.Labels) < maxLabels:
				i.Labels = append(i.Labels, l)
			case !i.label(l):
				odd = append(odd, l)
			}
			return nil
		})
		i.remark("labels", strings.Join(odd, " "), len(odd) == 0)
	case "exact_only":
		i.ExactOnly, err = t.bool()
	case "note":
		i.Note, err = t.text()
	case "origin":
		i.Origin, err = t.text()
	case "source":
		i.Source, err = t.text()
	case "foreign_id":
		i.Foreign, err = t.text()
	case "created_at":
		i.CreatedAt, err = t.time()
	case "expires_at":
		i.ExpiresAt, err = t.time()
	case "more_sources":
		err = t.sources(i)
	case "status":
		var text string
		if text, err = t.text(); err == nil {
			i.Status, err = parseStatus(text)
		}
	case "media":
		return t.object(func(name string) *RowError { return t.media(&i.Media, name) })
	default:
		return bad(UnknownField, "", "accepted are signals, exact_only, labels, note, origin, source, foreign_id, created_at, expires_at, status, media, more_sources")
	}
	return err
}

// sources reads an array of sources behind others. A source may be much smaller where it stands than in memory: those beyond
// what an entry keeps are counted alone.
func (t tokens) sources(i *draft) *RowError {
	return t.array(func() *RowError {
		var s Source
		err := t.object(func(name string) (err *RowError) {
			switch name {
			case "origin":
				s.Origin, err = t.text()
			case "source":
				s.List, err = t.text()
			case "foreign_id":
				s.Foreign, err = t.text()
			case "created_at":
				s.CreatedAt, err = t.time()
			default:
				err = bad(UnknownField, "", "accepted are origin, source, foreign_id, created_at")
			}
			return err
		})
		if len(i.More) < maxMore {
			i.More = append(i.More, s)
		} else {
			i.Unread++
		}
		return err
	})
}

func (t tokens) media(m *Media, name string) (err *RowError) {
	var n int64
	switch name {
	case "format":
		m.Format, err = t.text()
	case "width":
		n, err = t.size(31)
		m.Width = int(n)
	case "height":
		n, err = t.size(31)
		m.Height = int(n)
	case "bytes":
		m.Bytes, err = t.size(63)
	case "duration_ms":
		m.DurationMS, err = t.size(63)
	default:
		return bad(UnknownField, "", "accepted are format, width, height, bytes, duration_ms")
	}
	return err
}

func (t tokens) signal() (hashing.Signal, *RowError) {
	var algorithm, variant, value string
	var parts [][2]string
	err := t.object(func(name string) (err *RowError) {
		switch name {
		case "algorithm":
			algorithm, err = t.text()
		case "variant":
			variant, err = t.text()
		case "value":
			value, err = t.text()
		case "quality", "time_ms", "version":
			var n int64
			n, err = t.size(31)
			parts = append(parts, [2]string{name[:1], strconv.FormatInt(n, 10)})
		default:
			err = bad(UnknownField, "", "accepted are algorithm, variant, value, quality, time_ms, version")
		}
		return err
	})
	if err != nil {
		return hashing.Signal{}, err
	}
	s, err := parseParts(algorithm, variant, value)
	for _, p := range parts {
		if err == nil {
			err = setPart(&s, p[0], p[1])
		}
	}
	return s, err
}

// tokens reads JSON.
type tokens struct {
	in  *json.Decoder
	row string
}

func tokensOf(text string) tokens {
	t := tokens{in: json.NewDecoder(strings.NewReader(text)), row: text}
	t.in.UseNumber()
	return t
}

// end is an error if anything is left.
func (t tokens) end() *RowError {
	if _, err := t.in.Token(); err != io.EOF {
		return bad(BadJSON, "", "something stands behind it")
	}
	return nil
}

// object reads an object: member is called for each of its members, to read the value.
func (t tokens) object(member func(name string) *RowError) *RowError {
	if err := t.delim('{', "an object"); err != nil {
		return err
	}
	seen := make([]string, 0, 16)
	for t.in.More() {
		token, err := t.in.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return noJSON()
		}
		for _, s := range seen {
			if s == name {
				return bad(DuplicateField, "", "a member stands twice")
			}
		}
		seen = append(seen, name)
		if err := member(name); err != nil {
			if err.Reason == UnknownField {
				return err
			}
			return in(name, err) // one of those that are known
		}
	}
	return t.delim('}', "the end of an object")
}

// array reads an array: element is called to read each of its elements.
func (t tokens) array(element func() *RowError) *RowError {
	if err := t.delim('[', "an array"); err != nil {
		return err
	}
	for t.in.More() {
		if err := element(); err != nil {
			return err
		}
	}
	return t.delim(']', "the end of an array")
}

func (t tokens) delim(d json.Delim, what string) *RowError {
	token, err := t.in.Token()
	if err != nil {
		return noJSON()
	}
	if token != d {
		return wrongType(what)
	}
	return nil
}

func (t tokens) text() (string, *RowError) {
	s, err := token[string](t, "a text")
	if err != nil {
		return "", err
	}
	// Half of a surrogate pair is read as U+FFFD, which is not what stood there.
	if strings.ContainsRune(s, utf8.RuneError) && !strings.ContainsRune(t.row, utf8.RuneError) && !strings.Contains(strings.ToLower(t.row), `\ufffd`) {
		return "", bad(BadText, "", "half of a surrogate pair")
	}
	return s, checkText("", s)
}

func (t tokens) time() (time.Time, *RowError) {
	text, err := t.text()
	if err != nil {
		return time.Time{}, err
	}
	return parseTime(text)
}

func (t tokens) bool() (bool, *RowError) { return token[bool](t, "true or false") }

func (t tokens) size(bits int) (int64, *RowError) {
	n, err := token[json.Number](t, "a number")
	if err != nil {
		return 0, err
	}
	return parseSize(n.String(), bits)
}

func token[T any](t tokens, what string) (T, *RowError) {
	token, err := t.in.Token()
	v, ok := token.(T)
	switch {
	case err != nil:
		return v, noJSON()
	case !ok:
		return v, wrongType(what)
	}
	return v, nil
}

func noJSON() *RowError { return bad(BadJSON, "", "not JSON; accepted is one object a line") }

func wrongType(accepted string) *RowError { return bad(BadJSON, "", "accepted is %s", accepted) }
