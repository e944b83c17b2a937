package rescan

import "time"

// Often sets how often what is done is stored.
func (r *Runner) Often(d time.Duration) { r.often = d }
