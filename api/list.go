package api

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	v1 "vigie/api/v1"
	"vigie/exchange"
	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

const (
	listPart      = 256    // rows that are flagged at a time, if they have no more signals than
	listSignals   = 10_000 // which a video may have alone, and were not read from more
	listPartBytes = 16 << 20
	listRows      = 100_000 // of one request
	listBytes     = 1 << 30 // of one request: blank lines and rows that are too long count, too
	listExamples  = 1000    // skipped rows that are told one by one
	maxRehearsals = 4       // dry runs at a time that remember their list, each at most matcher.MaxRehearsed
)

// Reasons why a row of a list is left out, beside those of package exchange.
const (
	rowNotActive exchange.Reason = "not-active"  // the list has it as retracted, expired, or not yet confirmed
	rowInvalid   exchange.Reason = "invalid"     // the catalogue does not take it
	rowPoor      exchange.Reason = "low-quality" // it would match everything that says as little
	rowKnownGood exchange.Reason = "known-good"  // near a known-good entry
	rowTakenBack exchange.Reason = "taken-back"  // the bank has had it, and has it no more
)

// FlagList answers POST /v1/banks/{bank}/entries:batch: rows are stored while they are read. If it cannot go on when some
// are stored, the answer says so beside what became of those.
func (s *Server) FlagList(ctx context.Context, r v1.FlagListRequestObject) (v1.FlagListResponseObject, error) {
	l := intake{
		server: s, who: who(ctx), bank: r.Bank, source: or(r.Params.Source, ""),
		options: matcher.ListOptions{DryRun: or(r.Params.DryRun, false), DespiteKnownGood: or(r.Params.DespiteKnownGood, false)},
		report:  v1.ListReport{Reasons: map[string]int{}, Rows: []v1.SkippedRow{}},
	}
	if l.options.DryRun && s.rehearsals.TryAcquire(1) {
		defer s.rehearsals.Release(1)
		l.options.Rehearsal = &matcher.Rehearsal{}
	}
	if _, err := s.matcher.Bank(ctx, l.who, r.Bank); err != nil {
		return nil, err
	}
	l.body, _ = r.Body.(*arriving)
	var o exchange.ReadOptions
	if a := or((*string)(r.Params.Algorithm), ""); a != "" {
		var err error
		if o.Algorithm, err = hashing.ParseAlgorithm(a); err != nil {
			return nil, err
		}
	}
	body := bufio.NewReaderSize(http.MaxBytesReader(nil, io.NopCloser(r.Body), listBytes), exchange.DetectBytes)
	format, err := l.format(r.Params.Format, body, o.Algorithm.Valid())
	if err != nil {
		return nil, err
	}
	if l.rows, err = exchange.NewReader(body, format, o); err != nil {
		return nil, listError(err)
	}
	if err := l.read(ctx); err != nil {
		if l.report.Created+l.report.Sourced == 0 || errors.Is(err, context.Canceled) {
			return nil, err
		}
		p := document(err, "")
		l.report.Ended = &p
	}
	if r := l.options.Rehearsal; l.options.DryRun && (r == nil || r.Full()) {
		unseen := true
		l.report.RepeatsUnseen = &unseen
	}
	// A body that came too slowly has ended the context.
	l.report.Matchable = s.matcher.Await(context.WithoutCancel(ctx), uint64(l.report.Seq)) == nil
	return listAnswer{v1.FlagList200JSONResponse(l.report), s, l.body}, nil
}

// format is that of a list: as it is given, or as the Content-Type or the first line tell it. Bare says that a line may be a hash
// alone.
func (l *intake) format(given *v1.FlagListParamsFormat, list *bufio.Reader, bare bool) (exchange.Format, error) {
	if given != nil {
		f, err := exchange.ParseFormat(string(*given))
		return f, err
	}
	kind := ndjson
	if l.body != nil {
		kind, _, _ = mime.ParseMediaType(l.body.kind)
	}
	if kind == ndjson {
		return exchange.NDJSON, nil
	}
	first, err := firstLine(list)
	if err != nil {
		return "", bodyError(err)
	}
	f, err := exchange.Detect("", first)
	switch {
	case kind == "text/csv" && (err != nil || f != exchange.TXCSV):
		return exchange.CSV, nil // whose header says what is wrong with it
	case err != nil && bare:
		return exchange.LocalFile, nil
	case err != nil:
		return "", refuse(pInvalid, "its first line does not tell the format; accepted are text/csv, application/x-ndjson, or format=csv, ndjson, tx-csv or local-file")
	}
	return f, nil
}

// firstLine is the beginning of a list, at least to the end of the first line that is not empty, or as much as is looked at.
func firstLine(list *bufio.Reader) ([]byte, error) {
	for n := 1; ; n = list.Buffered() + 1 {
		_, err := list.Peek(n)
		first, _ := list.Peek(list.Buffered())
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, bufio.ErrBufferFull), bytes.IndexByte(bytes.TrimLeft(first, "\ufeff \t\r\n"), '\n') >= 0:
			return first, nil
		case err != nil:
			return nil, err
		}
	}
}

// listAnswer is a report. If nobody wants the rest of the list, its sender may still be sending that; see Server.linger.
type listAnswer struct {
	v1.FlagList200JSONResponse
	server *Server
	body   *arriving
}

func (a listAnswer) VisitFlagListResponse(w http.ResponseWriter) error {
	unread := a.body != nil && !a.body.over
	if unread {
		w.Header().Set(echo.HeaderConnection, "close")
	}
	err := a.FlagList200JSONResponse.VisitFlagListResponse(w)
	if unread && err == nil {
		a.server.linger(http.NewResponseController(w), a.body)
	}
	return err
}

// listError is an error of reading a list as a whole.
func listError(err error) error {
	var bad *exchange.ListError
	if errors.As(err, &bad) {
		return refuse(pInvalid, "%v", bad)
	}
	return bodyError(err)
}

// intake is a list on its way into a bank.
type intake struct {
	server  *Server
	who     matcher.Principal
	bank    string
	source  string
	options matcher.ListOptions
	rows    *exchange.Reader
	body    *arriving // nil if it has no deadline
	report  v1.ListReport

	part    []row            // whose turn has not come
	listed  []matcher.Listed // those of part that are to be flagged
	signals int              // of listed
	begin   int64            // where part begins in the list
}

// row is a row that was read.
type row struct {
	line  int
	noted int            // of its labels, those that the list's own words are kept of
	skip  *v1.SkippedRow // why it is not to be flagged
}

// read flags all rows, some at a time. They are told of in order, so that a report which ends is of the first rows.
func (l *intake) read(ctx context.Context) error {
	for {
		item, err := l.rows.Next()
		var bad *exchange.RowError
		switch {
		case errors.Is(err, io.EOF):
			return l.flag(ctx)
		case errors.As(err, &bad):
			l.add(bad.Line, exchange.Item{}, bad)
		case err != nil:
			return listError(err)
		case item.Status != "":
			l.add(l.rows.Line(), item, &exchange.RowError{Reason: rowNotActive, Column: "status", Detail: item.Status})
		case !item.ExpiresAt.IsZero() && !item.ExpiresAt.After(time.Now()):
			l.add(l.rows.Line(), item, &exchange.RowError{Reason: rowNotActive, Column: "expires_at", Detail: "it has passed"})
		case item.Media.DurationMS > math.MaxUint32:
			l.add(l.rows.Line(), item, &exchange.RowError{
				Reason: rowInvalid, Column: "duration_ms", Detail: fmt.Sprintf("accepted are 0 to %d", uint32(math.MaxUint32)),
			})
		default:
			l.add(l.rows.Line(), item, nil)
		}
		full := l.report.Read+len(l.part) == listRows
		if full || len(l.part) == listPart || l.signals >= listSignals || l.rows.Position().Offset-l.begin >= listPartBytes {
			if err := l.flag(ctx); err != nil {
				return err
			}
		}
		if full {
			if _, err := l.rows.Next(); !errors.Is(err, io.EOF) {
				return refuse(pBatchLong, "more than %d rows; send the list in parts", listRows)
			}
			return nil
		}
	}
}

// add puts a row into the part.
func (l *intake) add(line int, i exchange.Item, bad *exchange.RowError) {
	if bad != nil {
		l.part = append(l.part, row{line: line, skip: &v1.SkippedRow{Line: line, Reason: string(bad.Reason), Column: some(bad.Column), Detail: some(bad.Detail)}})
		return
	}
	var more []storage.Source
	for _, s := range i.More {
		more = append(more, l.sourceOf(s))
	}
	l.part = append(l.part, row{line: line, noted: i.Noted})
	l.listed = append(l.listed, matcher.Listed{
		Signals: i.Signals, ExactOnly: i.ExactOnly, Labels: i.Labels, Note: i.Note,
		Media: storage.MediaInfo{
			Format: i.Media.Format, Width: i.Media.Width, Height: i.Media.Height, Bytes: i.Media.Bytes, Duration: uint32(i.Media.DurationMS),
		},
		Source: l.sourceOf(exchange.Source{Origin: i.Origin, List: i.Source, Foreign: i.Foreign, CreatedAt: i.CreatedAt}),
		More:   more, ExpiresAt: i.ExpiresAt,
	})
	l.signals += len(i.Signals)
}

func (l *intake) sourceOf(s exchange.Source) storage.Source {
	return storage.Source{Origin: s.Origin, List: cmp.Or(s.List, l.source), Foreign: s.Foreign, At: s.CreatedAt}
}

// flag stores the part that was read.
func (l *intake) flag(ctx context.Context) error {
	if err := l.server.standing(ctx); err != nil {
		return err
	}
	leave, err := l.server.admitRows(ctx, len(l.listed))
	if err != nil {
		return err
	}
	defer leave()
	out, seq, err := l.server.matcher.FlagList(ctx, l.who, l.bank, l.listed, l.options)
	l.report.Seq = max(l.report.Seq, int64(seq))
	for _, row := range l.part {
		switch {
		case row.skip != nil:
			l.skip(*row.skip)
			continue
		case len(out) == 0:
			return err
		case out[0].Err != nil:
			l.skip(skippedRow(row.line, out[0].Err))
		case out[0].Same:
			l.report.Read++
			l.report.Same++
		case out[0].Created:
			l.report.Read++
			l.report.Created++
		default:
			l.report.Read++
			l.report.Sourced++
		}
		if out[0].Err == nil {
			l.report.Noted += row.noted + out[0].Noted
		}
		out = out[1:]
	}
	clear(l.listed) // of what may be large
	l.part, l.listed, l.signals, l.begin = l.part[:0], l.listed[:0], 0, l.rows.Position().Offset
	if l.body != nil {
		l.body.putOff(l.server.o.BodyTime)
	}
	return err
}

func (l *intake) skip(row v1.SkippedRow) {
	l.report.Read++
	l.report.Skipped++
	l.report.Reasons[row.Reason]++
	if len(l.report.Rows) < listExamples {
		l.report.Rows = append(l.report.Rows, row)
	}
}

// skippedRow says why the matcher did not take a row.
func skippedRow(line int, err error) v1.SkippedRow {
	var input *matcher.InputError
	var poor *matcher.UnhashableError
	row := v1.SkippedRow{Line: line, Reason: string(rowInvalid), Detail: some(err.Error())}
	switch {
	case errors.As(err, &input):
		row.Column, row.Detail = some(input.Field), some(input.Reason)
	case errors.As(err, &poor):
		row.Reason, row.Detail = string(rowPoor), some(poor.Detail)
	case errors.Is(err, matcher.ErrKnownGood):
		row.Reason = string(rowKnownGood)
	case errors.Is(err, matcher.ErrTakenBack):
		row.Reason = string(rowTakenBack)
	}
	if d := row.Detail; d != nil && len(*d) > maxDetail {
		row.Detail = some(strings.ToValidUTF8((*d)[:maxDetail], "") + "...")
	}
	return row
}

// putOff gives the rest of a body that is worked on while it comes as much time again.
func (a *arriving) putOff(patience time.Duration) {
	if a.over {
		return
	}
	if due := time.Now().Add(patience); due.After(a.due) {
		a.due = due
		_ = a.control.SetReadDeadline(due)
	}
}
