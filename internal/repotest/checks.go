package repotest

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// Checks are all checks, by name.
func Checks() map[string]func(*Tree) []string {
	return map[string]func(*Tree) []string{
		"imports":      (*Tree).Imports,
		"decoders":     (*Tree).Decoders,
		"package docs": (*Tree).PackageDocs,
		"modules":      (*Tree).Modules,
		"own paths":    (*Tree).OwnPaths,
		"logging":      (*Tree).Logging,
		"licence":      (*Tree).Licence,
		"contexts":     (*Tree).Contexts,
		"dependencies": (*Tree).Dependencies,
		"links":        (*Tree).Links,
	}
}

// Decoders: pictures are decoded by the decoder of their format, called by name after the header
// was checked. image.Decode picks one of those that happen to be registered, and a decoder that is
// imported for its side effect registers itself.
func (t *Tree) Decoders() []string {
	decoder := regexp.MustCompile(`^(image/|golang\.org/x/image/|github\.com/gen2brain/)`)
	var broken []string
	for _, f := range t.files {
		if f.test {
			continue
		}
		for _, c := range t.calls(f, "image", "Decode", "DecodeConfig", "RegisterFormat") {
			broken = append(broken, c+": decoders are called by name, after the limits; see hashing/decode")
		}
		for _, s := range f.imports() {
			if s.Name == nil {
				continue
			}
			p := importPath(s)
			if s.Name.Name == "_" && decoder.MatchString(p) {
				broken = append(broken, fmt.Sprintf("%s: %s is imported for its side effect: no decoder is registered", t.at(s), p))
			}
			if s.Name.Name == "." && p == "image" {
				broken = append(broken, fmt.Sprintf("%s: image is imported into the file's own names, which hides image.Decode", t.at(s)))
			}
		}
	}
	return broken
}

// PackageDocs: every package says what it is for.
func (t *Tree) PackageDocs() []string {
	documented := map[string]bool{}
	var order []string
	for _, f := range t.files {
		if f.test {
			continue
		}
		if _, seen := documented[f.pkg]; !seen {
			documented[f.pkg] = false
			order = append(order, f.pkg)
		}
		if f.ast.Doc.Text() != "" {
			documented[f.pkg] = true
		}
	}
	var broken []string
	for _, pkg := range order {
		if !documented[pkg] {
			broken = append(broken, pkg+": has no package comment")
		}
	}
	return broken
}

// Modules: what a clone builds is what its go.mod says, on every machine.
func (t *Tree) Modules() []string {
	var broken []string
	for _, name := range t.paths() {
		text := t.texts[name]
		if path.Base(name) == "go.mod" {
			mod, err := modfile.Parse(name, []byte(text), nil)
			if err != nil {
				broken = append(broken, err.Error())
				continue
			}
			for _, r := range mod.Replace {
				broken = append(broken, fmt.Sprintf("%s:%d: replaces %s: whoever imports the module does not get that", name, r.Syntax.Start.Line, r.Old.Path))
			}
			continue
		}
		if under(name, "internal/repotest") || path.Ext(name) == ".md" {
			continue
		}
		for i, line := range strings.Split(text, "\n") {
			if strings.Contains(line, "GOFLAGS") && !strings.Contains(line, "-mod=readonly") {
				broken = append(broken, fmt.Sprintf("%s:%d: sets GOFLAGS: plain go build and go test must do", name, i+1))
			}
		}
	}
	return broken
}

var ownPath = regexp.MustCompile(`(^|[^\w.*/-])/(work|root|home|Users)/|proxy\.golang\.org|sum\.golang\.org|registry\.npmjs\.org`)

// OwnPaths: nothing in the tree depends on, or speaks of, one machine's folders or a registry's host.
func (t *Tree) OwnPaths() []string {
	var broken []string
	for _, name := range t.paths() {
		if under(name, "internal/repotest") {
			continue
		}
		for i, line := range strings.Split(t.texts[name], "\n") {
			if m := ownPath.FindString(line); m != "" {
				broken = append(broken, fmt.Sprintf("%s:%d: %q is of one machine or one registry", name, i+1, strings.TrimSpace(m)))
			}
		}
	}
	return broken
}

// ownLogger lists the files outside of the edges that import a logger, and why.
var ownLogger = map[string]string{
	"storage/jobs/riverlog.go": "River tells of its troubles to a logger only; what it says goes on as errors",
}

// Logging: rooms report by values and errors; only the edges, api and cmd, write logs.
func (t *Tree) Logging() []string {
	var broken []string
	for _, f := range t.files {
		if r := room(f.pkg); f.test || r == "cmd" || r == "api" || ownLogger[f.path] != "" {
			continue
		}
		for _, s := range f.imports() {
			if p := importPath(s); p == "log" || p == "log/slog" {
				broken = append(broken, fmt.Sprintf("%s: imports %s: only cmd and api log", t.at(s), p))
			}
		}
	}
	return broken
}

// Licence: the tree carries the licence it is under.
func (t *Tree) Licence() []string {
	if text := t.texts["LICENSE"]; !strings.Contains(text, "Apache License") || !strings.Contains(text, "Version 2.0") {
		return []string{"LICENSE: is not the text of the Apache License 2.0"}
	}
	return nil
}

// ownContext lists the files outside of package main that make a context of their own, and why.
var ownContext = map[string]string{
	"hashing/sandbox/pool.go":    "the pool outlives every request; Close ends it",
	"hashing/sandbox/child.go":   "the child's work ends when its parent kills it",
	"storage/sqlstore/commit.go": "one transaction serves many callers; none of them may cancel it for the others",
	"hashing/video/video.go":     "a program is asked for its version once, when the decoder is made; a timeout ends it",
}

// Contexts: what blocks takes its caller's context, so that cancelling reaches it.
func (t *Tree) Contexts() []string {
	var broken []string
	made := map[string]bool{}
	for _, f := range t.files {
		if f.test || f.ast.Name.Name == "main" || isTestHelper(f.pkg) {
			continue
		}
		for _, c := range t.calls(f, "context", "Background", "TODO") {
			made[f.path] = true
			if ownContext[f.path] == "" {
				broken = append(broken, c+": take the caller's context, or list the file in ownContext with the reason")
			}
		}
	}
	for name := range ownContext {
		if _, there := t.texts[name]; there && !made[name] {
			broken = append(broken, name+": is listed in ownContext for nothing")
		}
	}
	slices.Sort(broken)
	return broken
}

// Dependencies: docs/dependencies.md lists the modules that go.mod requires, direct and indirect
// apart, each with its version and its licence, and no others.
func (t *Tree) Dependencies() []string {
	const doc = "docs/dependencies.md"
	mod, err := modfile.Parse("go.mod", []byte(t.texts["go.mod"]), nil)
	if err != nil {
		return []string{err.Error()}
	}
	var broken []string
	direct, indirect := table(t.texts[doc], "Direct"), table(t.texts[doc], "Indirect")
	for _, r := range mod.Require {
		section, rows := "Direct", direct
		if r.Indirect {
			section, rows = "Indirect", indirect
		}
		row, ok := rows[r.Mod.Path]
		delete(rows, r.Mod.Path)
		switch {
		case !ok:
			broken = append(broken, fmt.Sprintf("%s: %s is not listed under %q", doc, r.Mod.Path, section))
		case len(row) < 2 || row[0] != r.Mod.Version:
			broken = append(broken, fmt.Sprintf("%s: %s is required at %s, listed otherwise", doc, r.Mod.Path, r.Mod.Version))
		case row[1] == "":
			broken = append(broken, fmt.Sprintf("%s: %s has no licence", doc, r.Mod.Path))
		}
	}
	for section, rows := range map[string]map[string][]string{"Direct": direct, "Indirect": indirect} {
		for name := range rows {
			broken = append(broken, fmt.Sprintf("%s: %s is listed under %q, but go.mod does not require it so", doc, name, section))
		}
	}
	slices.Sort(broken)
	return broken
}

// table reads the rows "| module | version | licence | ..." below a heading "## section": the cells
// after the module, by module.
func table(text, section string) map[string][]string {
	rows := map[string][]string{}
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			inside = strings.HasPrefix(heading, section)
			continue
		}
		if !inside || !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " `")
		}
		if strings.Contains(cells[0], "/") || strings.Contains(cells[0], ".") {
			rows[cells[0]] = cells[1:]
		}
	}
	return rows
}

// under reports whether a file is in a folder of the tree.
func under(name, folder string) bool { return strings.HasPrefix(name, folder+"/") }
