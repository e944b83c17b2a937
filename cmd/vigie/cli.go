package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"

	"vigie/internal/buildinfo"
	"vigie/matcher"
)

// cli is the command line: the settings that all commands share, and one field per command.
type cli struct {
	Config Config           `embed:""`
	Show   kong.VersionFlag `name:"version" help:"Print the version."`
	JSON   bool             `help:"Print JSON, one object a line." env:"VIGIE_JSON"`

	Serve      serveCmd      `cmd:"" help:"Run a node."`
	Worker     workerCmd     `cmd:"" help:"Run a node that does jobs, and serves nobody."`
	Flag       flagCmd       `cmd:"" help:"Flag pictures and videos into a bank."`
	Check      checkCmd      `cmd:"" help:"Check pictures and videos against the banks."`
	Scan       scanCmd       `cmd:"" help:"Check a whole folder or bucket, with progress; can be resumed."`
	Rescans    rescansCmd    `cmd:"" help:"Check what was posted before, in the background: start, list, watch, cancel, resume; read what was found."`
	Sources    sourcesCmd    `cmd:"" help:"List what may be re-scanned, as the node's configuration names it."`
	Hash       hashCmd       `cmd:"" help:"Print the signals of pictures and videos; needs no node."`
	Banks      banksCmd      `cmd:"" help:"List, create, change, delete and restore banks; confirm what is proposed."`
	Subscribed subscribedCmd `cmd:"" name:"subscriptions" help:"List which banks count for your party, and how; subscribe."`
	Import     importCmd     `cmd:"" help:"Flag a list of hashes into a bank: CSV, NDJSON, ThreatExchange."`
	Export     exportCmd     `cmd:"" help:"Write the entries of a bank as a list."`
	Entries    entriesCmd    `cmd:"" help:"List, search, show, change, retract and restore entries; say what you think of them."`
	Matches    matchesCmd    `cmd:"" help:"List what checks found, and say what was done about it."`
	Parties    partiesCmd    `cmd:"" help:"List, create and change parties: whose keys and banks they are."`
	Webhooks   webhooksCmd   `cmd:"" help:"Be told of what happens: create, change, test and delete webhooks; replay what was given up."`
	Keys       keysCmd       `cmd:"" help:"List, create and revoke API keys."`
	History    historyCmd    `cmd:"" help:"Say what the upload history has, and read its files in full."`
	Nodes      nodesCmd      `cmd:"" help:"List the nodes of the catalogue, how far they are, and whether they hold the same."`
	Log        logCmd        `cmd:"" help:"Read, follow and verify the change log."`
	Vocabulary vocabularyCmd `cmd:"" help:"List the labels that mean the same to all."`
	Backup     backupCmd     `cmd:"" help:"Copy the data folder, also while a node runs on it."`
	Restore    restoreCmd    `cmd:"" help:"Make a data folder of a backup, and verify it."`
	Copy       copyCmd       `cmd:"" help:"Copy a whole catalogue from a data folder to PostgreSQL, or back."`
	Migrate    migrateCmd    `cmd:"" help:"Bring the catalogue to the schema of this version; vigie serve does so by itself."`
	Doctor     doctorCmd     `cmd:"" help:"Examine the data folder and the machine, say what is wrong and what to do."`
	Bench      benchCmd      `cmd:"" help:"Measure: how many edited copies are found, and how long hashing takes."`
	Demo       demoCmd       `cmd:"" help:"Show the main job on drawn pictures, in a temporary folder."`
	ShowConfig configCmd     `cmd:"" name:"config" help:"Print the settings in force and where they come from."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Completion completionCmd `cmd:"" help:"Print a completion script for a shell."`
}

// Exit codes; see the package's documentation.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is wrong use of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errSomeFailed ends a command that has told of each failure already.
var errSomeFailed = errors.New("some inputs failed")

const about = `Finds near-duplicates of known terrorist propaganda.

Commands work on the data folder (--data), alone or through the node that runs on it, or on a node
elsewhere (--server with --key-file or VIGIE_KEY).

Exit codes: 0 done, 1 some inputs failed or the node refused, 2 wrong use.`

// run is the whole program but for the decode child; it returns the exit code.
func run(ctx context.Context, args []string, io streams) int {
	var c cli
	settings, err := readConfigFile(args)
	if err == nil {
		c.Config.Sources, err = sources(settings)
	}
	if err != nil {
		return fail(io.err, usagef("--config: %w", err))
	}
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("vigie"), kong.Description(about), kong.Writers(io.out, io.err),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Help(help), kong.ShortUsageOnError(),
		kong.Exit(func(code int) { exited = code }),
		kong.Resolvers(resolve(settings)),
		kong.BindTo(ctx, (*context.Context)(nil)),
		words(),
		kong.ExplicitGroups([]kong.Group{{Key: nodeGroup, Title: "Settings of a node:"}}),
	)
	if err != nil {
		return fail(io.err, err)
	}
	kongcompletion.Register(parser)
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if exited >= 0 { // help was printed
		return exited
	}
	if err != nil {
		return fail(io.err, usageError{err})
	}
	app := &app{Config: c.Config, printer: printer{json: c.JSON, streams: io}, args: args, file: settings, set: setByFlag(command)}
	if err := errors.Join(app.Validate(), app.chooseNode()); err != nil {
		return fail(io.err, err)
	}
	return fail(io.err, command.Run(app))
}

// app is what a command gets: the settings, and where to print.
type app struct {
	Config
	printer
	args []string        // as they were given
	file map[string]any  // settings of the file
	set  map[string]bool // settings whose flag was on the command line
}

// setByFlag names the flags that were on the command line.
func setByFlag(c *kong.Context) map[string]bool {
	set := map[string]bool{}
	for _, p := range c.Path {
		if p.Flag != nil && !p.Resolved {
			set[p.Flag.Name] = true
		}
	}
	return set
}

// chooseNode decides between --data and --server: a flag wins over the environment and the file.
func (a *app) chooseNode() error {
	if a.set["data"] && a.set["server"] {
		return usagef("--data and --server: a node is here or elsewhere; name one of them")
	}
	if a.set["data"] {
		a.Server = ""
	}
	return nil
}

// fail prints an error as one line and returns the exit code that goes with it.
func fail(w io.Writer, err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errSomeFailed):
		return exitFailed
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(w, "vigie: interrupted")
		return exitFailed
	}
	text := err.Error()
	if path, ok := errors.AsType[*fs.PathError](err); ok { // the name of a system call helps nobody
		text = strings.Replace(text, path.Error(), path.Path+": "+path.Err.Error(), 1)
	}
	fmt.Fprintln(w, "vigie:", inOneLine(text))
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// oneLine is an error's text, for a line.
func oneLine(err error) string { return inOneLine(err.Error()) }

// inOneLine joins lines by semicolons, unless one announces the next.
func inOneLine(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines[1:] {
		lines[i+1] = strings.TrimSpace(lines[i+1])
	}
	return strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ")
}

// help shows the node's settings only where they matter: they would drown the rest.
func help(o kong.HelpOptions, c *kong.Context) error {
	shown := map[string]bool{"serve": true, "worker": true, "config": true}
	node := c.Selected()
	for _, f := range c.Model.Flags {
		if f.Group != nil && f.Group.Key == nodeGroup {
			f.Hidden = node == nil || !shown[node.Name]
		}
	}
	return kong.DefaultHelpPrinter(o, c)
}

// words are what texts of the command line name that stands elsewhere.
func words() kong.Vars {
	return kong.Vars{"version": "vigie " + buildinfo.Version(), "event_kinds": strings.Join(matcher.EventKinds(), ", ")}
}
