package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	v1 "vigie/api/v1"
	"vigie/internal/buildinfo"
	"vigie/storage/datadir"
)

// checkFolder: the folder is there, is the user's own, and can be written.
func checkFolder(_ context.Context, x *examination) (found []finding) {
	info, err := os.Stat(x.Data)
	x.nothing = err != nil || !info.IsDir()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []finding{fault("there is nothing to examine", "name the folder with --data; vigie serve makes a new one", "%s is not there", x.Data)}
	case err != nil:
		return []finding{fault("the folder cannot be reached", "run as the user of the node, or mend the rights of the folders above it", "%v", err)}
	case !info.IsDir():
		return []finding{fault("a data folder is a folder", "name it with --data", "%s is a file", x.Data)}
	}
	if err := unix.Access(x.Data, unix.W_OK|unix.X_OK); err != nil {
		found = append(found, fault("nothing can be flagged, and no node started", "run as the user of the node; see that the disk is not mounted read-only", "%s cannot be written: %v", x.Data, err))
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		found = append(found, fault("others can put a catalogue of their own in its place", "chmod 700 "+x.Data, "%s can be written by others (mode %o)", x.Data, mode))
	} else if mode&0o077 != 0 {
		found = append(found, warning("others can see what is in it", "chmod 700 "+x.Data, "%s is open to others (mode %o)", x.Data, mode))
	}
	owner, _ := ownerOf(info)
	for _, name := range []string{catalogueFile, catalogueFile + "-wal", catalogueFile + "-shm", datadir.LockName, jobsFile, mediaFolder, indexFolder, journalFolder} {
		info, err := os.Lstat(x.path(name))
		if err != nil {
			continue
		}
		if other, ok := ownerOf(info); ok && other != owner {
			found = append(found, fault("the node cannot read or write it; perhaps a command was run as another user", fmt.Sprintf("chown -R %d %s", owner, x.Data),
				"%s is of user %d, its folder of user %d", x.path(name), other, owner))
		}
		if mode := info.Mode().Perm(); !info.IsDir() && mode&0o077 != 0 {
			found = append(found, warning("others can read it as soon as the folder is open to them", "chmod 600 "+x.path(name), "%s has mode %o", x.path(name), mode))
		}
	}
	if me := os.Geteuid(); me != 0 && uint32(me) != owner {
		found = append(found, fault("the node would not be able to work in it", "run as its user", "%s is of user %d; this is user %d", x.Data, owner, me))
	}
	return or(found, "%s is private to user %d, and can be written", x.Data, owner)
}

func ownerOf(info fs.FileInfo) (uid uint32, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return stat.Uid, true
}

// checkLock: nobody owns the folder, or somebody who answers.
func checkLock(ctx context.Context, x *examination) []finding {
	held, pid, err := lockHolder(x.path(datadir.LockName))
	x.ownerPID = pid
	who := "a process"
	if pid != 0 {
		who = fmt.Sprintf("process %d", pid)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !held:
		return fine("nobody owns the folder")
	case err != nil:
		return []finding{fault("nobody can own the folder", "run as the user of the node", "%v", err)}
	}
	health, err := x.askOwner(ctx)
	switch {
	case err != nil:
		return []finding{fault("it hangs or is something else, and keeps every node and command from the folder",
			"look what it is (ps), and end it", "%s owns the folder, and does not answer on its socket: %v", who, err)}
	case !health.Serving:
		return fine("%s owns the folder: a command that is at work", who)
	case health.Version != buildinfo.Version():
		return []finding{warning("the node that runs is of another version than this program", "restart the node when it suits",
			"%s serves the folder with version %s; this is %s", who, health.Version, buildinfo.Version())}
	}
	return fine("%s serves the folder, version %s", who, health.Version)
}

// lockHolder says whether somebody holds the lock, and who, as far as the system tells.
func lockHolder(path string) (held bool, pid int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, 0, err
	}
	defer f.Close() // and with it the lock that this may take for a moment
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return false, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return true, 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true, 0, nil
	}
	// A line is such as "1: FLOCK  ADVISORY  WRITE 4711 fd:01:1234 0 EOF", with the number of the file at the end of its sixth word.
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return true, 0, nil // not on this system
	}
	defer locks.Close()
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) > 5 && words[1] == "FLOCK" && strings.HasSuffix(words[5], fmt.Sprintf(":%d", stat.Ino)) {
			pid, _ = strconv.Atoi(words[4])
			return true, pid, nil
		}
	}
	return true, 0, nil
}

// askOwner asks whoever owns the folder for a sign of life.
func (x *examination) askOwner(ctx context.Context) (v1.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, ownerPatience)
	defer cancel()
	conn, err := dialSocket(ctx, x.Data)
	if err != nil {
		return v1.Health{}, err
	}
	_ = conn.Close()
	c := &client{config: &x.Config, settled: true} // so that it does not become the owner itself
	transport := &http.Transport{DialContext: c.dial}
	defer transport.CloseIdleConnections()
	if c.Client, err = v1.NewClient("http://vigie", v1.WithHTTPClient(&http.Client{Transport: transport})); err != nil {
		return v1.Health{}, err
	}
	return ask[v1.Health](c.Health(ctx))
}

// checkDisk: there is room, also for some time to come.
func checkDisk(ctx context.Context, x *examination) []finding {
	const full, low, days = 64 << 20, 1 << 30, 30
	var s unix.Statfs_t
	if err := unix.Statfs(x.Data, &s); err != nil {
		return unchecked(fmt.Sprintf("the system does not say how full the disk is: %v", err))
	}
	free := int64(s.Bavail) * int64(s.Bsize)
	makeRoom := "make room, or move the folder to a larger disk"
	if free < full {
		return []finding{fault("flags are refused, or will be in a moment; checks go on", makeRoom, "the disk is full: %s are left", humanBytes(free))}
	}
	if s.Files > 0 && s.Ffree == 0 {
		return []finding{fault("no file can be made, so no media kept", makeRoom, "the disk has no room for another file (inodes)")}
	}
	var found []finding
	if free < low {
		found = append(found, warning("it will be full soon", makeRoom, "%s are left on the disk", humanBytes(free)))
	}
	size, age := x.growth(ctx)
	if age > 7*24*time.Hour && size > 0 {
		if left := float64(free) / float64(size) * age.Hours() / 24; left < days {
			found = append(found, warning("the disk is full then", makeRoom, "as the folder has grown until now (%s in %.0f days), the %s that are left last %.0f days",
				humanBytes(size), age.Hours()/24, humanBytes(free), left))
		}
	}
	return or(found, "%s are left", humanBytes(free))
}

// growth is how much there is, and since when.
func (x *examination) growth(ctx context.Context) (size int64, age time.Duration) {
	if info, err := os.Stat(x.path(catalogueFile)); err == nil {
		size = info.Size()
	}
	if x.catalog == nil {
		return 0, 0
	}
	if rows, err := liveMedia(ctx, x.catalog); err == nil {
		for _, m := range rows {
			size += m.Size
		}
	}
	if first, err := x.catalog.Changes(ctx, 0, 1); err == nil && len(first) > 0 {
		age = x.now.Sub(first[0].At)
	}
	return size, age
}
