package rescan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"vigie/internal/guard"
)

// urls is a source: a file with a URL in each line. Empty lines and those that begin with # are left out.
type urls struct {
	text
	client *http.Client
}

var errEnough = errors.New("no more is wanted")

// Items implements [Source].
func (u urls) Items(ctx context.Context, after string) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		err := func() error {
			place, err := placeOf(after)
			if err != nil {
				return err
			}
			f, err := u.open(ctx)
			if err != nil {
				return err
			}
			defer f.Close()
			return u.lines(ctx, f, place, f.size(), func(place int64, line []byte, err error) error {
				name := strings.TrimSpace(string(line))
				if err == nil && (name == "" || name[0] == '#') {
					return nil
				}
				item := Item{Name: name, Place: placeText(place), Open: func() (io.ReadCloser, error) { return u.fetch(ctx, name) }}
				if err != nil {
					item.Name = fmt.Sprintf("the line at byte %d", place-1)
				}
				if !yield(item, err) {
					return errEnough
				}
				return nil
			})
		}()
		if err != nil && !errors.Is(err, errEnough) {
			yield(Item{}, err)
		}
	}
}

// fetch gets what is at a URL. What a server says for good is a [refusedError].
func (u urls) fetch(ctx context.Context, address string) (io.ReadCloser, error) {
	at, err := url.Parse(address)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
		return nil, refusedError{"it is no http or https URL"}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, refusedError{"it is no http or https URL"}
	}
	response, err := u.client.Do(request)
	if err != nil {
		told := guard.Told(err)
		if refused := (*guard.RefusedError)(nil); errors.As(err, &refused) {
			return nil, refusedError{told}
		}
		return nil, errors.New(told)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	response.Body.Close()
	said := "the server says " + response.Status
	switch {
	case response.StatusCode == http.StatusTooManyRequests, response.StatusCode == http.StatusRequestTimeout, response.StatusCode >= 500:
		return nil, errors.New(said)
	}
	return nil, refusedError{said}
}

// refusedError is of an item that no further try will get.
type refusedError struct{ why string }

func (e refusedError) Error() string { return e.why }
