package storage

import (
	"fmt"
	"time"
)

// An entry that has an expiry does not cease to match by itself: the nodes' clocks differ, and a check looks at none. Some node
// notices that its time has come, and makes that a change like any other, once.

// ExpiryReader finds entries whose time has come.
type ExpiryReader interface {
	// Due are active entries whose ExpiresAt has come, earliest first, at most limit (1..MaxEntries). The time is that of the
	// database where it has a clock of its own, so that a node whose clock is ahead takes nothing out for all.
	Due(limit int) ([]EntryID, error)
}

// ExpiryWriter takes them out.
type ExpiryWriter interface {
	// Expire gives the entries that are [ExpiryReader] Due, at most limit, the status Expired and no reason, and returns them as they
	// are then, by id.
	Expire(limit int) ([]Entry, error)
}

// CheckDue reports a limit outside 1..[MaxEntries].
func CheckDue(limit int) error { return checkRange("limit of what is due", limit, MaxEntries) }

// CheckExpiry reports a time that is neither zero nor one of the years 1970 to 9999.
func CheckExpiry(at time.Time) error {
	if !at.IsZero() && (at.UnixMilli() <= 0 || at.UTC().Year() > 9999) {
		return fmt.Errorf("expires at %v; accepted are the years 1970 to 9999", at.UTC())
	}
	return nil
}
