package matcher

// AtOnce has snapshots left and fetched for every change.
func (s *Snapshots) AtOnce() *Snapshots {
	s.enough, s.far, s.rest = 1, 1, 0
	return s
}

// TellAtMost has a search for past uploads tell of so many at most.
func (m *Matcher) TellAtMost(n int) { m.past.most = n }
