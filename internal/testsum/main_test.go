package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestSummarize(t *testing.T) {
	tests := []struct {
		name, in string
		ok       bool
		want     []string // parts of the answer
		not      string   // no part of it
	}{
		{
			"all pass", `{"Action":"run","Package":"p","Test":"A"}
{"Action":"output","Package":"p","Test":"A","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"A"}
{"Action":"output","Package":"p","Output":"coverage: 81.5% of statements\n"}
{"Action":"pass","Package":"p","Elapsed":1.5}`, true,
			[]string{"ok    p ", "1.50s     1 passed, coverage 81.5%\n1 passed, 0 failed, 0 skipped\n"},
			"chatter",
		},
		{
			"one fails", `{"Action":"output","Package":"p","Test":"A","Output":"it is wrong\n"}
{"Action":"fail","Package":"p","Test":"A"}
{"Action":"pass","Package":"p","Test":"B"}
{"Action":"fail","Package":"p"}`, false,
			[]string{"it is wrong\n", "FAIL  p", "1 passed, 1 failed, 0 skipped\n"},
			"outside",
		},
		{
			"one fails after long chatter", chatter(200) + `{"Action":"fail","Package":"p","Test":"A"}`, false,
			[]string{"line 30.\n    [110 lines left out]\nline 141.\n", "line 200.\n"},
			"line 31.\n",
		},
		{
			"skipped with a reason", `{"Action":"pass","Package":"p","Test":"B"}
{"Action":"output","Package":"p","Test":"A","Output":"    a_test.go:3: no data\n"}
{"Action":"skip","Package":"p","Test":"A"}
{"Action":"pass","Package":"p"}`, true,
			[]string{"skip  p A: a_test.go:3: no data\n", "1 passed, 0 failed, 1 skipped\n"},
			"FAIL",
		},
		{
			"does not build", `{"ImportPath":"p","Action":"build-output","Output":"p.go:1: undefined: x\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"pass","Package":"q","Test":"A"}
{"Action":"fail","Package":"p","FailedBuild":"p"}`, false,
			[]string{"p.go:1: undefined: x\n", "1 passed, 0 failed", "failed outside of the tests"},
			"no test",
		},
		{
			"a process dies", `{"Action":"run","Package":"p","Test":"A"}
{"Action":"output","Package":"p","Test":"A","Output":"panic: oh\n"}
{"Action":"fail","Package":"p"}`, false,
			[]string{"p A did not end\npanic: oh\n"},
			"chatter",
		},
		{
			"the stream breaks off", `{"Action":"pass","Package":"p","Test":"B"}
{"Action":"run","Package":"p","Test":"A"}`, false, []string{"p A did not end", "1 passed, 0 failed"}, "ok  ",
		},
		{"go test complains", "go: no such module\n" + `{"Action":"pass","Package":"p","Test":"B"}`, false, []string{"go: no such module\n"}, "no test ran"},
		{"no test ran", `{"Action":"skip","Package":"p"}`, false, []string{"0 passed, 0 failed, 0 skipped\nno test ran\n"}, "FAIL"},
		{"nothing at all", "", false, []string{"no test ran"}, "FAIL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			ok, err := summarize(strings.NewReader(tt.in), &out)
			if err != nil || ok != tt.ok {
				t.Errorf("ok %v, %v; want %v", ok, err, tt.ok)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("got %q, want %q in it", out.String(), want)
				}
			}
			if strings.Contains(out.String(), tt.not) {
				t.Errorf("got %q, with %q", out.String(), tt.not)
			}
		})
	}
}

// chatter is the output of a test, numbered lines.
func chatter(lines int) string {
	var b strings.Builder
	for i := 1; i <= lines; i++ {
		fmt.Fprintf(&b, `{"Action":"output","Package":"p","Test":"A","Output":"line %d.\n"}`+"\n", i)
	}
	return b.String()
}
