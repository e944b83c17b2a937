package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	v1 "vigie/api/v1"
	"vigie/matcher"
)

const ndjson = "application/x-ndjson"

// CheckBatch answers POST /v1/check/batch: the answer is written while the request is read.
func (s *Server) CheckBatch(ctx context.Context, r v1.CheckBatchRequestObject) (v1.CheckBatchResponseObject, error) {
	if r.Body == nil {
		return nil, refuse(pInvalid, "no body")
	}
	return batch{ctx: ctx, server: s, body: r.Body, in: bufio.NewReaderSize(r.Body, lineBytes)}, nil
}

// batch is one running batch.
type batch struct {
	ctx    context.Context //nolint:containedctx // lives as long as the one call that writes the answer
	server *Server
	body   io.Reader
	in     *bufio.Reader // of body
}

// VisitCheckBatchResponse writes one line for each line of the request, in order. What was answered is
// flushed before it waits for more. A batch that cannot go on ends with a problem line; net/http
// then closes the connection rather than read what may be endless.
func (b batch) VisitCheckBatchResponse(w http.ResponseWriter) error {
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // HTTP/1: do not swallow the request before the first line is answered
	w.Header().Set("Content-Type", ndjson)
	w.WriteHeader(http.StatusOK)
	out := json.NewEncoder(w)

	for n := 1; ; n++ {
		end := func(why error) error {
			err := out.Encode(lineProblem(n, why))
			if err == nil {
				b.server.linger(control, b.body)
			}
			return err
		}
		patience := time.Now().Add(b.server.o.BodyTime)
		_ = control.SetWriteDeadline(patience.Add(b.server.o.BodyTime))
		if rest, _ := b.in.Peek(b.in.Buffered()); bytes.IndexByte(rest, '\n') < 0 {
			if err := control.Flush(); err != nil {
				return err
			}
			_ = control.SetReadDeadline(patience)
		}
		line, err := b.in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(bytes.TrimSpace(line)) == 0:
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			return end(refuse(pLineLong, "line %d is longer than %d bytes", n, lineBytes))
		case err != nil && !errors.Is(err, io.EOF):
			return out.Encode(lineProblem(n, bodyError(err)))
		case n > b.server.o.BatchLines:
			return end(refuse(pBatchLong, "more than %d lines", b.server.o.BatchLines))
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := b.server.standing(b.ctx); err != nil {
			return end(err)
		}
		answer, problem := b.server.checkLine(b.ctx, line)
		if problem != nil {
			if err := b.ctx.Err(); err != nil {
				return err
			}
			answer = lineProblem(n, problem)
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
}

func lineProblem(n int, err error) v1.BatchLine {
	p := document(err, "")
	return v1.BatchLine{Line: &n, Problem: &p}
}

// checkLine answers one line. Errors are those of a check, or say how the line breaks the contract.
func (s *Server) checkLine(ctx context.Context, line []byte) (any, error) {
	leave, err := s.admitLine(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	q, err := s.question(line)
	if err != nil {
		return nil, err
	}
	q.Who = who(ctx)
	verdict, err := s.matcher.Check(ctx, q)
	if err != nil {
		return nil, err
	}
	return verdictOut(verdict), nil
}

// question reads a line of a batch.
func (s *Server) question(line []byte) (matcher.Question, error) {
	if err := checkJSON(line, s.contract.Components.Schemas["CheckSignals"].Value); err != nil {
		return matcher.Question{}, err
	}
	var in v1.CheckSignals
	if err := json.Unmarshal(line, &in); err != nil { // such as 1e3 where Go wants 1000
		return matcher.Question{}, refuse(pInvalid, "%v", err)
	}
	return questionOf(in)
}
