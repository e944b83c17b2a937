package matcher

import "time"

// LimitSearches bounds how long a search takes; it is for tests.
func (t *Texts) LimitSearches(most time.Duration) { t.most = most }
