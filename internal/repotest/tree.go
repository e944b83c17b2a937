// Package repotest holds the rules that the repository keeps as a whole, each a check over its files:
// who may import whom, how pictures are decoded, what the documentation promises. The package's own
// test runs every check on the repository, and proves on small made-up trees that each can fail.
//
// A check returns what breaks its rule, one message each, naming the file and the rule. Where the
// rule is wrong, change it here, and the documentation with it.
package repotest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Module is the path of the module whose tree is checked.
const Module = "vigie"

// Tree is the text of a repository, read once.
type Tree struct {
	names map[string]bool   // every file and folder, by its path
	texts map[string]string // every text file, by its path
	files []file            // the Go files among them, by path
	fset  *token.FileSet
}

// file is one Go file.
type file struct {
	path string
	pkg  string // import path of its folder
	test bool   // in a _test.go file
	ast  *ast.File
}

// imports lists what f imports.
func (f file) imports() []*ast.ImportSpec { return f.ast.Imports }

// importPath is the path of an import, unquoted.
func importPath(s *ast.ImportSpec) string {
	p, _ := strconv.Unquote(s.Path.Value) // the parser has seen that it is a string
	return p
}

// skipped are folders that hold nothing of ours, or what tools made.
var skipped = []string{".git", ".tools", "bin", "coverage", "node_modules"}

// Load reads a tree. Files that are not text are left out; a Go file that does not parse is an error.
func Load(root fs.FS) (*Tree, error) {
	t := &Tree{names: map[string]bool{}, texts: map[string]string{}, fset: token.NewFileSet()}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(skipped, d.Name()):
			return fs.SkipDir
		}
		t.names[name] = true
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		if !utf8.Valid(data) || strings.ContainsRune(string(data), 0) {
			return nil
		}
		t.texts[name] = string(data)
		if path.Ext(name) != ".go" || strings.Contains("/"+name, "/testdata/") {
			return nil
		}
		parsed, err := parser.ParseFile(t.fset, name, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		t.files = append(t.files, file{
			path: name,
			pkg:  path.Join(Module, path.Dir(name)),
			test: strings.HasSuffix(name, "_test.go"),
			ast:  parsed,
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the tree: %w", err)
	}
	return t, nil
}

// at names the place of a node: file and line.
func (t *Tree) at(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// paths lists the text files in order.
func (t *Tree) paths() []string {
	names := make([]string, 0, len(t.texts))
	for name := range t.texts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// calls lists the uses of functions of an imported package, as "name" at their places.
func (t *Tree) calls(f file, pkg string, names ...string) []string {
	local := ""
	for _, s := range f.imports() {
		if importPath(s) == pkg {
			local = path.Base(pkg)
			if s.Name != nil {
				local = s.Name.Name
			}
		}
	}
	if local == "" {
		return nil
	}
	var found []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && slices.Contains(names, s.Sel.Name) {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == local {
				found = append(found, fmt.Sprintf("%s: %s.%s", t.at(s), path.Base(pkg), s.Sel.Name))
			}
		}
		return true
	})
	return found
}

// isTestHelper reports whether a package is made for tests, by its name: storagetest, repotest, ..., or internal/testpg, ...
func isTestHelper(pkg string) bool {
	return strings.HasSuffix(pkg, "test") || strings.HasPrefix(pkg, Module+"/internal/test")
}
