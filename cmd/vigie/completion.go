package main

import (
	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
)

type completionCmd struct {
	Shell string `arg:"" optional:"" help:"bash, zsh or fish; your login shell if left out." enum:"bash,zsh,fish," default:""`
}

// Run prints a script that completes commands and flags: eval "$(vigie completion bash)".
func (c *completionCmd) Run(k *kong.Context) error {
	script := kongcompletion.Completion{Shell: c.Shell, Code: true}
	return script.Run(k)
}
