//go:build !linux

package main

import "errors"

// stepBack has this process run when nobody else on the machine wants a processor, where that can be asked for.
func stepBack() error { return errors.New("this system has no priorities of threads") }
