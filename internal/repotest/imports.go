package repotest

import (
	"fmt"
	"slices"
	"strings"
)

// mayImport is the import rule: which rooms each room may import, besides itself.
//
//	cmd -> api -> rescan, exchange, webhook -> matcher -> index, storage -> hashing
var mayImport = map[string][]string{
	"cmd":      {"api", "webhook", "rescan", "exchange", "matcher", "index", "storage", "hashing", "fixtures", "internal"},
	"api":      {"webhook", "rescan", "exchange", "matcher", "index", "storage", "hashing", "internal"},
	"webhook":  {"matcher", "storage", "hashing", "internal"},
	"rescan":   {"matcher", "index", "storage", "hashing", "internal"},
	"exchange": {"matcher", "index", "storage", "hashing", "internal"},
	"matcher":  {"index", "storage", "hashing", "internal"},
	"index":    {"hashing"},
	"storage":  {"hashing", "internal"},
	"hashing":  {},
	"fixtures": {},
	"internal": {},
}

// testsMayImport is what test files may import besides: small media, helpers, and from fixtures and
// internal, which stand aside of the order, whatever they test.
var testsMayImport = map[string][]string{
	"":         {"fixtures", "internal"},
	"fixtures": {"hashing"},
	"webhook":  {"index"}, // of which a matcher is made
	"internal": {"cmd", "api", "webhook", "rescan", "exchange", "matcher", "index", "storage", "hashing"},
}

// alone are packages that import nothing of Vigie, so that other programs can use them as they are.
var alone = []string{Module + "/hashing", Module + "/hashing/pdq", Module + "/fixtures", Module + "/webhook/signature"}

// room is the first part of a package's path below the module, "" outside of it.
func room(pkg string) string {
	below, ok := strings.CutPrefix(pkg, Module+"/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(below, "/")
	return name
}

// Imports checks the import rule.
func (t *Tree) Imports() []string {
	var broken []string
	for _, f := range t.files {
		from := room(f.pkg)
		allowed, known := mayImport[from]
		if !known {
			broken = append(broken, fmt.Sprintf("%s: %q is none of the rooms", f.path, from))
			continue
		}
		for _, s := range f.imports() {
			target := importPath(s)
			to := room(target)
			if to == "" {
				continue
			}
			edge := fmt.Sprintf("%s: %s imports %s", t.at(s), f.pkg, target)
			switch {
			case f.test:
				if to != from && !slices.Contains(allowed, to) &&
					!slices.Contains(testsMayImport[""], to) && !slices.Contains(testsMayImport[from], to) {
					broken = append(broken, fmt.Sprintf("%s: tests in %s may import %s", edge, from,
						list(from, allowed, testsMayImport[""], testsMayImport[from])))
				}
			case slices.Contains(alone, f.pkg):
				broken = append(broken, fmt.Sprintf("%s: %s imports nothing of %s", edge, f.pkg, Module))
			case to != from && !slices.Contains(allowed, to):
				broken = append(broken, fmt.Sprintf("%s: %s may import %s", edge, from, list(from, allowed)))
			case isTestHelper(target) && !isTestHelper(f.pkg):
				broken = append(broken, edge+": a package made for tests is imported by tests only")
			}
		}
	}
	return broken
}

// list names rooms for a message.
func list(own string, rooms ...[]string) string {
	return strings.Join(append([]string{own}, slices.Concat(rooms...)...), ", ")
}
