package repotest

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// A link of Markdown in its line, without a title, and a heading.
var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// Links: what the documentation leads to within the repository is there: the file or folder, and the heading.
func (t *Tree) Links() []string {
	var broken []string
	for _, name := range t.paths() {
		if path.Ext(name) != ".md" {
			continue
		}
		for i, line := range strings.Split(t.texts[name], "\n") {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if strings.Contains(m[1], ":") {
					continue // of another place
				}
				file, anchor, _ := strings.Cut(m[1], "#")
				target := name
				if file != "" {
					target = path.Join(path.Dir(name), file)
				}
				switch {
				case !t.names[target]:
					broken = append(broken, fmt.Sprintf("%s:%d: leads to %s, which is not there", name, i+1, m[1]))
				case anchor != "" && !hasHeading(t.texts[target], anchor):
					broken = append(broken, fmt.Sprintf("%s:%d: leads to %s, and %s has no such heading", name, i+1, m[1], target))
				}
			}
		}
	}
	return broken
}

var notInAnchors = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

// hasHeading reports whether a text has a heading of that anchor: its words in lower case, joined by hyphens.
func hasHeading(text, anchor string) bool {
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		if strings.ReplaceAll(notInAnchors.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-") == anchor {
			return true
		}
	}
	return false
}
