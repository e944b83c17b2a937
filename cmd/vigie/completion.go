package main

import kongcompletion "github.com/jotaen/kong-completion"

// completionCmd prints a script that completes commands and flags in bash, zsh or fish.
type completionCmd struct {
	kongcompletion.Completion
}
