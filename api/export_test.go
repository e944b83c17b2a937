package api

import "vigie/matcher"

// Question reads a line of a batch.
func (s *Server) Question(line []byte) (matcher.Question, error) { return s.question(line) }

// ProblemTypes lists the types of problems with their statuses.
func ProblemTypes() map[string]int {
	out := map[string]int{}
	for _, p := range problemTypes {
		out[p.Type()] = p.Status
	}
	return out
}

// ProblemOf is the type of the problem that an error becomes, and its detail.
func ProblemOf(err error) (string, string) {
	p := document(err, "")
	return p.Type, or(p.Detail, "")
}

// LineBytes is the longest line of a batch.
const LineBytes = lineBytes
