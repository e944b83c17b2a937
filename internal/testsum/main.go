// Command testsum reads the output of go test -json and makes it short: the output of what failed,
// one line for each package, and the line "N passed, N failed, N skipped" at the end. It exits with
// 1 if anything failed, if a package did not build, or if no test ran at all.
//
//	go test -json ./... | go run ./internal/testsum
//
// Tests are counted with their subtests, as go test -v lists them.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	ok, err := summarize(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// event is a line of test2json.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output
	Test       string
	Elapsed    float64
	Output     string
}

// test names a test, or with an empty second part its package.
type test struct{ pkg, name string }

// summarize copies what matters of r to w and reports whether all is well.
func summarize(r io.Reader, w io.Writer) (ok bool, err error) {
	var passed, failed, skipped int
	broken := false                    // something failed that is not a test
	output := map[test][]string{}      // of tests that still run
	started := map[test]bool{}         // and have not ended
	build := map[string][]string{}     // compiler output
	coverage := map[string]string{}    // of packages
	ran := map[string]map[string]int{} // results by package

	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Action == "" {
			broken = true // go test itself spoke: say what it said
			fmt.Fprintln(w, lines.Text())
			continue
		}
		t := test{e.Package, e.Test}
		switch e.Action {
		case "build-output":
			build[e.ImportPath] = append(build[e.ImportPath], e.Output)
		case "build-fail":
			broken = true
			fmt.Fprint(w, strings.Join(build[e.ImportPath], ""))
		case "run":
			started[t] = true
		case "output":
			output[t] = append(output[t], e.Output)
			if _, percent, found := strings.Cut(e.Output, "coverage: "); found && e.Test == "" {
				coverage[e.Package], _, _ = strings.Cut(percent, " ")
			}
		case "pass", "fail", "skip":
			delete(started, t)
			if e.Test != "" {
				if ran[e.Package] == nil {
					ran[e.Package] = map[string]int{}
				}
				ran[e.Package][e.Action]++
			}
			switch {
			case e.Action == "fail":
				fmt.Fprint(w, shortened(output[t]))
				if e.Test == "" {
					broken = true
					fmt.Fprint(w, unended(started, output, e.Package))
				} else {
					failed++
				}
			case e.Test != "" && e.Action == "skip":
				skipped++
				fmt.Fprintf(w, "skip  %s %s%s\n", e.Package, e.Test, reason(output[t]))
			case e.Test != "":
				passed++
			}
			if e.Test == "" {
				fmt.Fprintln(w, packageLine(e, ran[e.Package], coverage[e.Package]))
			}
			delete(output, t)
		}
	}
	if err := lines.Err(); err != nil {
		return false, err
	}
	for t := range started { // the stream broke off
		broken = true
		fmt.Fprintf(w, "FAIL  %s %s did not end\n", t.pkg, t.name)
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if broken && failed == 0 {
		fmt.Fprintln(w, "failed outside of the tests: see above")
	}
	if passed+failed == 0 {
		fmt.Fprintln(w, "no test ran")
	}
	return !broken && failed == 0 && passed > 0, nil
}

// What is shown of a failed test that printed much: why it failed stands at its beginning or its end.
const headLines, tailLines = 30, 60

// shortened is a failed test's output without its middle.
func shortened(output []string) string {
	if left := len(output) - headLines - tailLines; left > 1 {
		output = slices.Concat(output[:headLines], []string{fmt.Sprintf("    [%d lines left out]\n", left)}, output[len(output)-tailLines:])
	}
	return strings.Join(output, "")
}

// unended tells of tests that ran when their package's process died, and forgets them.
func unended(started map[test]bool, output map[test][]string, pkg string) string {
	var b strings.Builder
	for t := range started {
		if t.pkg == pkg {
			fmt.Fprintf(&b, "FAIL  %s %s did not end\n%s", pkg, t.name, shortened(output[t]))
			delete(started, t)
			delete(output, t)
		}
	}
	return b.String()
}

// reason is what a skipped test printed, on one line.
func reason(output []string) string {
	var b strings.Builder
	for _, o := range output {
		o = strings.TrimSpace(o)
		if o != "" && !strings.HasPrefix(o, "===") && !strings.HasPrefix(o, "---") {
			b.WriteString(": " + o)
		}
	}
	return b.String()
}

// packageLine is one package's result: how it went, how long, how many tests, what they covered.
func packageLine(e event, counts map[string]int, coverage string) string {
	word := map[string]string{"pass": "ok   ", "fail": "FAIL ", "skip": "none "}[e.Action]
	if e.Action == "pass" && len(counts) == 0 {
		word = "none " // no test files
	}
	line := fmt.Sprintf("%s %-34s %7.2fs %5d passed", word, e.Package, e.Elapsed, counts["pass"])
	if counts["fail"] > 0 {
		line += fmt.Sprintf(", %d failed", counts["fail"])
	}
	if counts["skip"] > 0 {
		line += fmt.Sprintf(", %d skipped", counts["skip"])
	}
	if coverage != "" {
		line += ", coverage " + coverage
	}
	return line
}
