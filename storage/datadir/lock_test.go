package datadir_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vigie/storage"
	"vigie/storage/datadir"
)

func TestLockIsExclusiveInOneProcess(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	lock, err := datadir.LockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := datadir.LockFolder(dir); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("second lock: got %v, want ErrLocked", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := datadir.LockFolder(dir)
	if err != nil {
		t.Fatalf("lock after close: %v", err)
	}
	again.Close()

	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, datadir.LockName): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
	}
}

// TestLockDiesWithItsProcess runs this test again as another process, which holds the lock until it is killed.
func TestLockDiesWithItsProcess(t *testing.T) {
	const folder = "VIGIE_TEST_LOCK_FOLDER"
	if dir := os.Getenv(folder); dir != "" {
		if _, err := datadir.LockFolder(dir); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("locked\n")
		select {}
	}
	dir := t.TempDir()
	holder := exec.Command(os.Args[0], "-test.run=^TestLockDiesWithItsProcess$")
	holder.Env = append(os.Environ(), folder+"="+dir)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer holder.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("holder said %q, %v", line, err)
	}
	if _, err := datadir.LockFolder(dir); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("while another process holds it: got %v, want ErrLocked", err)
	}
	holder.Process.Kill()
	holder.Wait()
	lock, err := datadir.LockFolder(dir)
	if err != nil {
		t.Fatalf("after the holder was killed: %v", err)
	}
	lock.Close()
}
