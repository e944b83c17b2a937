package matcher

import (
	"errors"
	"fmt"

	"vigie/hashing"
	"vigie/index"
)

// Sentinels, tested with errors.Is. Bad media are [*hashing.MediaError].
var (
	ErrUnknownBank  = errors.New("no such bank")
	ErrUnknownEntry = errors.New("no such entry")
	ErrUnknownKey   = errors.New("no such key")
	ErrUnknownParty = errors.New("no such party")
	ErrUnknownMatch = errors.New("no such match")
	// ErrForeign: it may be read, but belongs to another party.
	ErrForeign = errors.New("it belongs to another party")
	// ErrOperator: only the operator of the node may do that.
	ErrOperator = errors.New("only the party that runs this node may do that")
	// ErrPartyExists: a party has that name.
	ErrPartyExists = errors.New("a party of that name exists already")
	// ErrSecondPerson: whoever proposed a change may not confirm it.
	ErrSecondPerson = errors.New("another person than the one who proposed it must confirm it")
	// ErrNothingProposed: there is nothing to confirm or to reject.
	ErrNothingProposed = errors.New("nothing is proposed")
	// ErrPending: another change waits for a second person.
	ErrPending = errors.New("another change waits for a second person; confirm or reject it first")
	// ErrKnownGood: what is flagged is near a known-good entry.
	ErrKnownGood = errors.New("it is near a known-good entry; say despite_known_good to flag it all the same")
	// ErrKeyReused: an idempotency key came with another request before.
	ErrKeyReused = errors.New("the idempotency key was used for another request")
	// ErrBankExists: a bank of that name is not deleted.
	ErrBankExists = errors.New("a bank of that name exists already")
	// ErrAmbiguous: several banks of others have that name.
	ErrAmbiguous = errors.New("several banks have that name; say whose it is, as owner:name")
	// ErrDuplicate: restoring would make two entries of the same media match.
	ErrDuplicate = errors.New("another active entry of the bank has the same media")
	// ErrIndexBehind: the index has not seen min_seq within the time to wait.
	ErrIndexBehind = errors.New("the index has not caught up yet")
	// ErrBeyondHead: min_seq names a change that does not exist.
	ErrBeyondHead = errors.New("min_seq is beyond the head of the log")
	// ErrNotReady: the first load is not finished.
	ErrNotReady = errors.New("the index is loading")

	// ErrFull: the index has no memory for more rows; see index.Options.MemoryLimit.
	ErrFull = index.ErrFull

	// ErrNoKey, ErrBadKey, ErrExpiredKey and ErrRevokedKey answer [Matcher.Authenticate].
	ErrNoKey      = errors.New("no key")
	ErrBadKey     = errors.New("unknown key")
	ErrExpiredKey = errors.New("expired key")
	ErrRevokedKey = errors.New("revoked key")
	// ErrSuspended: the key's party is suspended.
	ErrSuspended = errors.New("the key's party is suspended")
)

// InputError is a field that the caller must correct.
type InputError struct {
	Field  string
	Reason string // what was wrong and what is accepted
}

func (e *InputError) Error() string { return e.Field + ": " + e.Reason }

func invalid(field, format string, args ...any) error {
	return &InputError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// UnhashableError refuses a flag that could not match, or would match everything.
type UnhashableError struct {
	Reason hashing.Reason
	Detail string
}

func (e *UnhashableError) Error() string { return string(e.Reason) + ": " + e.Detail }
