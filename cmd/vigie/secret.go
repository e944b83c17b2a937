package main

import (
	"fmt"
	"os"
)

// secret is what a node has made, and shows once.
type secret struct {
	text  string
	what  string // it is, such as: the secret of webhook 3
	intro string // over it, where a person reads it
	// Printed as JSON: with the text, and without it, when that is in a file.
	whole, rest any
}

// showSecret prints the secret that a request has made, or writes it to a file, which is made before: a secret that cannot be
// written is lost.
func (a *app) showSecret(path string, request func() (secret, error)) error {
	var file *os.File
	if path != "" {
		var err error
		if file, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
			return usagef("--out: %w", err)
		}
		defer file.Close()
	}
	s, err := request()
	if err != nil {
		if file != nil {
			_ = os.Remove(path)
		}
		return err
	}
	if file != nil {
		if _, err := fmt.Fprintln(file, s.text); err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	switch {
	case a.json && file != nil:
		return a.object(s.rest)
	case a.json:
		return a.object(s.whole)
	case file != nil:
		a.say("%s is in %s", s.what, path)
		return nil
	}
	fmt.Fprintln(a.err, s.intro)
	a.say("%s", s.text)
	return nil
}
