package repotest

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// TestRepository runs every check on the repository itself.
func TestRepository(t *testing.T) {
	tree, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.files) < 20 {
		t.Fatalf("found %d Go files: is this the repository?", len(tree.files))
	}
	for name, check := range Checks() {
		t.Run(name, func(t *testing.T) {
			for _, b := range check(tree) {
				t.Error(b)
			}
		})
	}
}

// TestChecks shows that each check passes what keeps its rule and fails what breaks it.
func TestChecks(t *testing.T) {
	const doc = "// Package p is documented.\n"
	tests := []struct {
		name  string
		check string
		files map[string]string
		want  []string // a part of each message, in order; none: the rule is kept
	}{
		{"down", "imports", map[string]string{"cmd/a.go": "package a\nimport _ \"vigie/matcher\""}, nil},
		{"within a room", "imports", map[string]string{"storage/sql/a.go": "package a\nimport _ \"vigie/storage\""}, nil},
		{
			"up", "imports",
			map[string]string{"matcher/a.go": "package a\n\nimport _ \"vigie/api/v1\""},
			[]string{"matcher/a.go:3: vigie/matcher imports vigie/api/v1: matcher may import matcher, index, storage"},
		},
		{"index and storage", "imports", map[string]string{
			"index/a.go":   "package a\nimport _ \"vigie/storage\"",
			"storage/a.go": "package a\nimport _ \"vigie/index\"",
		}, []string{"vigie/index imports vigie/storage", "vigie/storage imports vigie/index"}},
		{"exchange and rescan", "imports", map[string]string{
			"exchange/a.go": "package a\nimport _ \"vigie/rescan\"",
			"rescan/a.go":   "package a\nimport _ \"vigie/exchange\"",
		}, []string{"vigie/exchange imports vigie/rescan", "vigie/rescan imports vigie/exchange"}},
		{
			"pdq stands alone", "imports",
			map[string]string{"hashing/pdq/a.go": "package a\nimport _ \"vigie/hashing\""},
			[]string{"vigie/hashing/pdq imports nothing of vigie"},
		},
		{
			"nobody imports cmd", "imports",
			map[string]string{"api/a_test.go": "package a\nimport _ \"vigie/cmd/vigie\""},
			[]string{"tests in api may import"},
		},
		{"fixtures by tests", "imports", map[string]string{"hashing/a_test.go": "package a\nimport _ \"vigie/fixtures\""}, nil},
		{
			"fixtures by others", "imports",
			map[string]string{"matcher/a.go": "package a\nimport _ \"vigie/fixtures\""},
			[]string{"vigie/matcher imports vigie/fixtures"},
		},
		{
			"internal imports a room", "imports",
			map[string]string{"internal/x/a.go": "package a\nimport _ \"vigie/storage\""},
			[]string{"internal may import internal"},
		},
		{
			"test helper in the product", "imports",
			map[string]string{"storage/a.go": "package a\nimport _ \"vigie/storage/storagetest\""},
			[]string{"imported by tests only"},
		},
		{"unknown room", "imports", map[string]string{"utils/a.go": "package a"}, []string{`"utils" is none of the rooms`}},

		{"decoder by name", "decoders", map[string]string{"a.go": "package a\nimport \"image/png\"\nvar _ = png.Decode"}, nil},
		{
			"image.Decode", "decoders",
			map[string]string{"a.go": "package a\nimport \"image\"\nvar _ = image.Decode"},
			[]string{"a.go:3: image.Decode"},
		},
		{
			"image.DecodeConfig under another name", "decoders",
			map[string]string{"a.go": "package a\nimport im \"image\"\nvar _ = im.DecodeConfig"},
			[]string{"image.DecodeConfig"},
		},
		{
			"image.RegisterFormat", "decoders",
			map[string]string{"a.go": "package a\nimport \"image\"\nfunc f() { image.RegisterFormat(\"\", \"\", nil, nil) }"},
			[]string{"image.RegisterFormat"},
		},
		{"image.Decode in a test", "decoders", map[string]string{"a_test.go": "package a\nimport \"image\"\nvar _ = image.Decode"}, nil},
		{
			"registered decoders", "decoders",
			map[string]string{"a.go": "package a\nimport _ \"image/gif\"\nimport _ \"golang.org/x/image/webp\""},
			[]string{"image/gif is imported for its side effect", "golang.org/x/image/webp is imported"},
		},
		{"dot import", "decoders", map[string]string{"a.go": "package a\nimport . \"image\""}, []string{"hides image.Decode"}},

		{"documented in one file", "package docs", map[string]string{"p/a.go": doc + "package p", "p/b.go": "package p"}, nil},
		{"undocumented", "package docs", map[string]string{"p/a.go": "package p", "p/a_test.go": doc + "package p"}, []string{"vigie/p: has no package comment"}},

		{"plain go.mod", "modules", map[string]string{"go.mod": "module vigie\n", "Makefile": "export GOFLAGS := -mod=readonly\n"}, nil},
		{"replace", "modules", map[string]string{"go.mod": "module vigie\n\nreplace a.org/b => ../b\n"}, []string{"go.mod:3: replaces a.org/b"}},
		{"flags", "modules", map[string]string{"Makefile": "test:\n\tGOFLAGS=-tags=x go test\n"}, []string{"Makefile:2: sets GOFLAGS"}},

		{"paths of the tree", "own paths", map[string]string{"README.md": "see ./docs/work/ and network/"}, nil},
		{"paths of a machine", "own paths", map[string]string{"README.md": "ok\nsee /work/main and\n`/root/x`"}, []string{"README.md:2", "README.md:3"}},
		{"registry", "own paths", map[string]string{".ci/run": "GOPROXY=https://proxy.golang.org"}, []string{".ci/run:1"}},

		{"log in api", "logging", map[string]string{"api/a.go": "package a\nimport _ \"log/slog\""}, nil},
		{
			"log in a room", "logging",
			map[string]string{"storage/a.go": "package a\nimport _ \"log/slog\"\nimport _ \"log\""},
			[]string{"imports log/slog: only cmd and api log", "imports log: only"},
		},

		{"licence", "licence", map[string]string{"LICENSE": "Apache License\nVersion 2.0"}, nil},
		{"no licence", "licence", map[string]string{"README.md": "hello"}, []string{"LICENSE"}},

		{"context in main", "contexts", map[string]string{"cmd/a.go": "package main\nimport \"context\"\nvar _ = context.Background()"}, nil},
		{"context in a room", "contexts", map[string]string{"storage/a.go": "package a\nimport \"context\"\nvar _ = context.TODO()"}, []string{"storage/a.go:3: context.TODO"}},
		{"context with a reason", "contexts", map[string]string{"hashing/sandbox/pool.go": "package a\nimport \"context\"\nvar _ = context.Background()"}, nil},
		{"reason without a context", "contexts", map[string]string{"hashing/sandbox/pool.go": "package a"}, []string{"for nothing"}},

		{"listed", "dependencies", map[string]string{
			"go.mod":               "module vigie\nrequire a.org/b v1.0.0\nrequire a.org/c v1.1.0 // indirect\n",
			"docs/dependencies.md": "## Direct\n| `a.org/b` | v1.0.0 | MIT | why |\n## Indirect\n| `a.org/c` | v1.1.0 | BSD |\n",
		}, nil},
		{"not listed", "dependencies", map[string]string{
			"go.mod":               "module vigie\nrequire a.org/b v1.0.0\nrequire a.org/c v1.1.0\nrequire a.org/d v1.2.0\n",
			"docs/dependencies.md": "## Direct\n| `a.org/c` | v1.0.0 | MIT |\n| `a.org/d` | v1.2.0 | |\n| `a.org/e` | v1.0.0 | MIT |\n",
		}, []string{"a.org/b is not listed", "a.org/c is required at v1.1.0", "a.org/d has no licence", "a.org/e is listed"}},

		{"links that lead somewhere", "links", map[string]string{
			"README.md":     "[a](docs), [b](docs/x.md#what-is-it), [c](#us-too), ![d](docs/p.png), [e](https://a.org/x)\n## `Us`, too!\n",
			"docs/x.md":     "[a](../README.md) [b](x.md)\n### What is it?\n",
			"docs/p.png":    "\x89PNG\x00",
			"docs/notes.go": "package docs // [a](none.md)",
		}, nil},
		{
			"links that lead nowhere", "links",
			map[string]string{"README.md": "# A\n[a](docs/y.md) and [b](#b)", "docs/x.md": "[a](README.md)\n[b](../README.md#a) [c](../README.md#c)"},
			[]string{"README.md:2: leads to docs/y.md", "README.md:2: leads to #b, and README.md has no such heading", "docs/x.md:1: leads to README.md", "docs/x.md:2: leads to ../README.md#c"},
		},
	}
	failed := map[string]bool{}
	for _, tt := range tests {
		if len(tt.want) > 0 {
			failed[tt.check] = true
		}
		t.Run(tt.check+"/"+tt.name, func(t *testing.T) {
			files := fstest.MapFS{}
			for name, text := range tt.files {
				files[name] = &fstest.MapFile{Data: []byte(text)}
			}
			tree, err := Load(files)
			if err != nil {
				t.Fatal(err)
			}
			got := Checks()[tt.check](tree)
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %d messages", got, len(tt.want))
			}
			for i, want := range tt.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("got %q, want %q in it", got[i], want)
				}
			}
		})
	}
	for name := range Checks() {
		if !failed[name] {
			t.Errorf("no case shows that %q can fail", name)
		}
	}
}

func TestLoadRefusesWhatDoesNotParse(t *testing.T) {
	if _, err := Load(fstest.MapFS{"a.go": {Data: []byte("package")}}); err == nil {
		t.Error("no error")
	}
}

func TestLoadSkipsWhatIsNotText(t *testing.T) {
	tree, err := Load(fstest.MapFS{
		"a.png": {Data: []byte{0x89, 'P', 'N', 'G', 0}}, "bin/x.go": {Data: []byte("not Go")}, "a/testdata/x.go": {Data: []byte("not Go")},
	})
	if err != nil || len(tree.files) != 0 || tree.texts["a.png"] != "" {
		t.Errorf("read %v, %v", tree, err)
	}
}
