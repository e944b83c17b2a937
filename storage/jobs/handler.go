package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxKey   = 200
	maxError = 1 << 10 // of the text of an error that is kept
	// grace is how long the handlers have at the end of Run before their context ends, and ending how long they have then.
	grace  = 3 * time.Second
	ending = 5 * time.Second
)

// name is what a kind looks like; River has queues of that name.
var name = regexp.MustCompile(`^[a-z][a-z0-9]+(-[a-z0-9]+)*$`)

// handlers are those of an engine, with all defaults filled in, and what its options say of them.
type handlers struct {
	of    map[string]Handler
	only  []string // the kinds that Run does
	fault func(error)
}

func newHandlers(of map[string]Handler, o Options) (*handlers, error) {
	hs := &handlers{of: make(map[string]Handler, len(of)), only: o.Only, fault: o.Fault}
	for kind, h := range of {
		switch {
		case !name.MatchString(kind) || len(kind) > 64:
			return nil, fmt.Errorf("%w: kind %q: it has to be small letters, digits and single hyphens, 2 to 64 of them", ErrInvalid, kind)
		case h.Do == nil:
			return nil, fmt.Errorf("%w: kind %s: its handler does nothing", ErrInvalid, kind)
		case h.Timeout < 0 || h.Attempts < 0 || h.Attempts > 1000 || h.Parallel < 0 || h.Parallel > 1000:
			return nil, fmt.Errorf("%w: kind %s: Timeout may not be negative, Attempts and Parallel are 1 to 1000", ErrInvalid, kind)
		}
		if h.Timeout == 0 {
			h.Timeout = time.Minute
		}
		if h.Attempts == 0 {
			h.Attempts = 25
		}
		if h.Parallel == 0 {
			h.Parallel = 1
		}
		if h.Backoff == nil {
			h.Backoff = func(failed int) time.Duration { return min(time.Second<<min(failed-1, 12), time.Hour) }
		}
		hs.of[kind] = h
	}
	if o.Only == nil {
		hs.only = slices.Sorted(maps.Keys(hs.of))
	}
	for _, kind := range hs.only {
		if _, ok := hs.of[kind]; !ok {
			return nil, fmt.Errorf("%w: kind %q is to be done and has no handler", ErrInvalid, kind)
		}
	}
	if hs.fault == nil {
		hs.fault = func(error) {}
	}
	return hs, nil
}

// kinds are all that have a handler.
func (hs *handlers) kinds() []string { return slices.Sorted(maps.Keys(hs.of)) }

// check looks at jobs that are to be enqueued. It leaves out all but the first of those that share a kind and a key.
func (hs *handlers) check(jobs []Job) ([]Job, error) {
	type unique struct{ kind, key string }
	seen := map[unique]bool{}
	once := make([]Job, 0, len(jobs))
	for _, j := range jobs {
		if _, ok := hs.of[j.Kind]; !ok {
			return nil, fmt.Errorf("%w: there is no kind %q", ErrInvalid, j.Kind)
		}
		if len(j.Args) > MaxArgs {
			return nil, fmt.Errorf("%w: arguments of %d bytes, at most %d are taken", ErrInvalid, len(j.Args), MaxArgs)
		}
		if len(j.Args) > 0 && !(json.Valid(j.Args) && utf8.Valid(j.Args)) {
			return nil, fmt.Errorf("%w: arguments that are not JSON", ErrInvalid)
		}
		if j.Key != "" {
			if err := checkKey(j.Key); err != nil {
				return nil, err
			}
			if seen[unique{j.Kind, j.Key}] {
				continue
			}
			seen[unique{j.Kind, j.Key}] = true
		}
		once = append(once, j)
	}
	return once, nil
}

func checkKey(key string) error {
	if key == "" || len(key) > maxKey || !utf8.ValidString(key) || strings.ContainsRune(key, 0) {
		return fmt.Errorf("%w: a key is UTF-8 of 1 to %d bytes, without NUL", ErrInvalid, maxKey)
	}
	return nil
}

// behind is what comes after all keys that begin with a prefix.
func behind(prefix string) string { return prefix + string(utf8.MaxRune) }

// checkPage looks at what [Engine].Dead is asked for.
func checkPage(limit int) error {
	if limit < 1 || limit > 1000 {
		return fmt.Errorf("%w: a limit of %d jobs, it has to be 1 to 1000", ErrInvalid, limit)
	}
	return nil
}

// do makes one attempt. A panic of the handler is an error like others.
func (hs *handlers) do(ctx context.Context, kind string, r Run) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			hs.fault(fmt.Errorf("job %d of kind %s: %w\n%s", r.ID, kind, err, debug.Stack()))
		}
	}()
	return hs.of[kind].Do(ctx, r)
}

// verdict is what becomes of a job after an attempt.
type verdict int

const (
	done     verdict = iota
	postpone         // tried again after a while; it has not failed
	retry            // likewise, and it has failed
	die
)

// judge says what the answer of a handler means that has failed so often, this attempt included. ctx is the one it was given.
func (h Handler) judge(ctx context.Context, err error, failed int) (verdict, time.Duration) {
	if err == nil {
		return done, 0
	}
	if l, ok := errors.AsType[later](err); ok {
		return postpone, max(0, l.after)
	}
	if _, ok := errors.AsType[never](err); ok {
		return die, 0
	}
	if errors.Is(ctx.Err(), context.Canceled) { // Run ends; a timeout is another error
		return postpone, 0
	}
	if failed >= h.Attempts {
		return die, 0
	}
	return retry, max(0, h.Backoff(failed))
}

// text is what is kept of an error.
func text(err error) string {
	s := strings.ReplaceAll(err.Error(), "\x00", " ")
	return strings.ToValidUTF8(s[:min(len(s), maxError)], "")
}

// patience is how long an attempt may take before its process is taken for dead.
func (h Handler) patience() time.Duration { return h.Timeout + h.Timeout/2 }
