package rescan_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"

	"vigie/rescan"
)

func writeFile(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }

// oddTree has names that a walk orders otherwise than their paths as texts: "a/b" comes before "a-b",
// although '-' is before '/'.
var oddTree = []string{
	" ", "a!", "a/b", "a/b.x", "a/c/d", "a-b", "a.b", "a b", "b/ /x", "b/\n", "b/é", "b/z",
	"c/a", "c/a-", "c-", "d\te", "e\\f", "é/à", "\x80", "\xff/\xfe", "...", "-", "~", "x/y/z/0", "x/y/z-",
}

// makeTree writes the files below a new folder, as far as the file system takes their names.
func makeTree(t testing.TB, names []string) (dir string, files []string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if os.MkdirAll(filepath.Dir(path), 0o700) == nil && writeFile(path, name) == nil {
			files = append(files, name)
		}
	}
	return dir, files
}

// items lists names, and an error as "name: error".
func items(t testing.TB, f rescan.Folder, after string) (names []string) {
	t.Helper()
	for item, err := range f.Items(t.Context(), after) {
		if err != nil {
			item.Name += ": error"
		}
		names = append(names, item.Name)
	}
	return names
}

func TestFolderListsEverythingInOrder(t *testing.T) {
	t.Parallel()
	dir, files := makeTree(t, oddTree)
	if len(files) != len(oddTree) {
		t.Logf("this file system takes %d of the %d names", len(files), len(oddTree))
	}
	folder := rescan.Dir(dir)
	all := items(t, folder, "")
	equal(t, slices.Sorted(slices.Values(all)), slices.Sorted(slices.Values(files)))

	// From every place in it, the rest follows.
	for i, after := range all {
		equal(t, items(t, folder, after), append([]string(nil), all[i+1:]...))
	}
	for item, err := range folder.Items(t.Context(), "") {
		must(t, err)
		file, err := item.Open()
		must(t, err)
		text, err := io.ReadAll(file)
		must(t, errors.Join(err, file.Close()))
		equal(t, string(text), item.Name)
		equal(t, item.Size, int64(len(text)))
	}
}

func TestFolderOrder(t *testing.T) {
	t.Parallel()
	dir, _ := makeTree(t, []string{"a/b", "a-b", "a.b", "a/a", "b", "a0", "a/b-c", "ab/c"})
	equal(t, items(t, rescan.Dir(dir), ""), []string{"a/a", "a/b", "a/b-c", "a-b", "a.b", "a0", "ab/c", "b"})
}

// Whatever the tree and wherever the scan stopped, even at a name that is gone: what comes before and
// what comes after are together all.
func TestFolderResumesAnywhere(t *testing.T) {
	t.Parallel()
	part := rapid.StringOfN(rapid.SampledFrom([]rune("ab-./\n")), 1, 6, -1)
	rapid.Check(t, func(rt *rapid.T) {
		tree := fstest.MapFS{}
		for range rapid.IntRange(0, 12).Draw(rt, "files") {
			if name := part.Draw(rt, "name"); fs.ValidPath(name) && name != "." {
				tree[name] = &fstest.MapFile{}
			}
		}
		for name := range tree {
			for parent := filepath.Dir(name); parent != "."; parent = filepath.Dir(parent) {
				delete(tree, parent) // a folder cannot be a file
			}
		}
		all := items(t, rescan.Folder{FS: tree}, "")
		if len(all) != len(tree) {
			rt.Fatalf("%q of %v", all, tree)
		}
		if len(all) == 0 {
			return
		}
		at := rapid.IntRange(0, len(all)-1).Draw(rt, "at")
		if rapid.Bool().Draw(rt, "gone") {
			delete(tree, all[at])
		}
		if rest := items(t, rescan.Folder{FS: tree}, all[at]); !slices.Equal(rest, all[at+1:]) {
			rt.Fatalf("after %q of %q: %q", all[at], all, rest)
		}
	})
}

func TestFolderSkipsWhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir, _ := makeTree(t, []string{"file", "folder/file"})
	must(t, os.Symlink("file", filepath.Join(dir, "link")))
	must(t, os.Symlink("folder", filepath.Join(dir, "folder link")))
	must(t, os.Symlink("..", filepath.Join(dir, "folder", "loop")))
	must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o700))
	equal(t, items(t, rescan.Dir(dir), ""), []string{"file", "folder/file"})
}

// badFS is a tree with folders that cannot be read.
type badFS struct {
	fstest.MapFS
	bad []string
}

func (b badFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if slices.Contains(b.bad, name) {
		return nil, fs.ErrPermission
	}
	return b.MapFS.ReadDir(name)
}

func TestFolderWithFoldersThatCannotBeRead(t *testing.T) {
	t.Parallel()
	tree := fstest.MapFS{"a/x": {}, "b/x": {}, "b/y/z": {}, "b/z": {}, "c": {}}
	folder := rescan.Folder{FS: badFS{tree, []string{"a", "b/y"}}}
	all := []string{"a: error", "b/x", "b/y: error", "b/z", "c"}
	equal(t, items(t, folder, ""), all)
	for i, after := range []string{"a", "b/x", "b/y", "b/z", "c"} {
		equal(t, items(t, folder, after), append([]string(nil), all[i+1:]...))
	}
	equal(t, items(t, rescan.Folder{FS: badFS{tree, []string{"."}}}, ""), []string{": error"})
	equal(t, items(t, rescan.Dir(t.TempDir()+"/missing"), ""), []string{": error"})
}

func TestFolderWithAFileThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir, _ := makeTree(t, []string{"a", "gone", "z"})
	folder := rescan.Dir(dir)
	var failed []string
	s := rescan.Scan[int]{
		Source: folder,
		Check: func(_ context.Context, item rescan.Item) (int, error) {
			if item.Name == "a" { // listed by now: the folder was read
				must(t, os.Remove(filepath.Join(dir, "gone")))
			}
			file, err := item.Open()
			if err != nil {
				return 0, err
			}
			return 0, file.Close()
		},
		Level: func(int) string { return "none" },
		Emit: func(r rescan.Result[int]) error {
			if r.Err != nil {
				wantErr(t, r.Err, fs.ErrNotExist)
				failed = append(failed, r.Item.Name)
			}
			return nil
		},
	}
	summary, err := s.Run(t.Context())
	must(t, err)
	equal(t, failed, []string{"gone"})
	if summary.Items != 3 || summary.Failed != 1 {
		t.Errorf("summary %+v", summary)
	}
}

func TestFolderIsCancelled(t *testing.T) {
	t.Parallel()
	dir, _ := makeTree(t, []string{"a", "b", "c"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	n := 0
	for _, err := range rescan.Dir(dir).Items(ctx, "") {
		cancel()
		last = err
		n++
	}
	wantErr(t, last, context.Canceled)
	equal(t, n, 2)
}

// The cursor survives its file, whatever bytes are in the name.
func TestScanOfOddNamesResumes(t *testing.T) {
	t.Parallel()
	dir, files := makeTree(t, oddTree)
	path := filepath.Join(t.TempDir(), "checkpoint.json")
	var emitted []string
	for range len(files) { // one item at a time
		checkpoint, err := rescan.OpenCheckpoint(path)
		must(t, err)
		s := scanOf(rescan.Dir(dir), 3, &emitted)
		s.Checkpoint = checkpoint
		ctx, cancel := context.WithCancel(t.Context())
		emit := s.Emit
		s.Emit = func(r rescan.Result[string]) error {
			defer cancel()
			return emit(r)
		}
		_, err = s.Run(ctx)
		cancel()
		if err != nil {
			wantErr(t, err, context.Canceled)
		}
	}
	equal(t, emitted, items(t, rescan.Dir(dir), ""))
}

// A folder that is left out is left out with all it holds, wherever a scan begins.
func TestFolderWithout(t *testing.T) {
	f := rescan.Folder{Without: "b/own", FS: fstest.MapFS{
		"a.jpg": {}, "b/own/1.jpg": {}, "b/own/deep/2.jpg": {}, "b/own.jpg": {}, "b/z.jpg": {},
	}}
	for after, want := range map[string][]string{"": {"a.jpg", "b/own.jpg", "b/z.jpg"}, "a.jpg": {"b/own.jpg", "b/z.jpg"}} {
		var got []string
		for item, err := range f.Items(t.Context(), after) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, item.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("after %q: %v, want %v", after, got, want)
		}
	}
}
