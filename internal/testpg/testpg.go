// Package testpg starts throw-away PostgreSQL servers for tests, from the programs that the machine has.
//
// A package whose tests only need a database calls [Main] in its TestMain, and [Database] in its tests: they
// share one server that keeps nothing safe from a crash, and each gets a database of its own. A test that
// stops or kills the server starts one of its own by [Start]; that one has the settings of a real server.
//
// Without PostgreSQL such tests are skipped, and say so; if the variable CI is true, they fail.
package testpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"vigie/internal/testneed"
)

// version is the release that the tests are written for; another one is taken if this is not there.
const version = "15"

// quick are the settings of a server that need not survive: several times faster.
var quick = []string{"fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off"}

// shared is the server of this test binary; nil until the first test wants it.
var shared struct {
	sync.Mutex
	server    *Server
	err       error
	databases int
	templates map[string]string // names of databases
}

// Main runs the tests of a package and stops their server: os.Exit(testpg.Main(m)).
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		if err := shared.server.close(); err != nil {
			fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
			return max(code, 1)
		}
	}
	return code
}

// Database makes a database on the shared server and returns its URL. It is a copy of the template of that
// name, which prepare fills when it is first asked for. With the template "" it is empty. The caller's connections
// must be closed before the test ends, and prepare's before it returns.
func Database(t testing.TB, template string, prepare func(ctx context.Context, url string) error) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = start(append(quick, "max_connections=400"))
	}
	if shared.err != nil {
		testneed.End(t, shared.err)
	}
	s := shared.server
	create := func(from string) string {
		shared.databases++
		name := fmt.Sprintf("t%d", shared.databases)
		s.Exec(t, fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, from))
		return name
	}
	from := "template0"
	if template != "" {
		if from = shared.templates[template]; from == "" {
			from = create("template0")
			if err := prepare(t.Context(), s.URL(from)); err != nil {
				t.Fatalf("template %s: %v", template, err)
			}
			if shared.templates == nil {
				shared.templates = map[string]string{}
			}
			shared.templates[template] = from
		}
	}
	name := create(from)
	t.Cleanup(func() { s.Exec(t, fmt.Sprintf("DROP DATABASE %s WITH (FORCE)", name)) })
	return s.URL(name)
}

// Server is a running PostgreSQL. It listens on a socket in a folder of its own and lets every local user in.
type Server struct {
	bin, dir string
	settings []string
	cmd      *exec.Cmd // nil while it is stopped
	ended    chan error
}

// Start starts a server with the settings of a real one, and those given ("name=value"). It ends with the test.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := start(settings)
	if err != nil {
		testneed.End(t, err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	return s
}

// errMissing: the machine has no PostgreSQL.
var errMissing = testneed.Missing("PostgreSQL", "postgres")

// programs is the folder of the programs of PostgreSQL.
func programs() (string, error) {
	all, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	for _, p := range all {
		if strings.Contains(p, "/"+version+"/") {
			return filepath.Dir(p), nil
		}
	}
	if len(all) > 0 {
		return filepath.Dir(all[len(all)-1]), nil
	}
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p), nil
	}
	return "", errMissing
}

func start(settings []string) (s *Server, err error) {
	s = &Server{settings: settings}
	if s.bin, err = programs(); err != nil {
		return nil, err
	}
	// Sockets have short paths, and the server may have another user than the test.
	if s.dir, err = os.MkdirTemp("/tmp", "vigie-pg-"); err != nil {
		return nil, err
	}
	as, err := owner()
	if err == nil && as.Credential != nil {
		err = os.Chown(s.dir, int(as.Credential.Uid), int(as.Credential.Gid))
	}
	if err == nil {
		initdb := exec.Command(filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
		initdb.SysProcAttr, initdb.Dir = as, s.dir
		var out []byte
		if out, err = initdb.CombinedOutput(); err != nil {
			err = fmt.Errorf("initdb: %w\n%s", err, out)
		}
	}
	if err == nil {
		err = s.run()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	return s, nil
}

// owner is who runs the server, which refuses to be run by root.
func owner() (*syscall.SysProcAttr, error) {
	as := &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGQUIT, // it does not outlive a test that was killed
		Setpgid:   true,            // and what interrupts the test leaves it to the test to stop it
	}
	if os.Getuid() != 0 {
		return as, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return as, errors.Join(err1, err2)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// URL is that of a database, for its superuser.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Host: "", Path: "/" + database, RawQuery: url.Values{"host": {s.dir}}.Encode()}
	return u.String()
}

// Exec runs a statement as superuser in the database postgres.
func (s *Server) Exec(t testing.TB, statement string, args ...any) {
	t.Helper()
	if err := s.exec(statement, args...); err != nil {
		t.Errorf("%s: %v", statement, err)
	}
}

func (s *Server) exec(statement string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement, args...)
	return errors.Join(err, conn.Close(ctx))
}

// Stop ends the server by a signal and waits for its end: SIGTERM lets sessions end by themselves, SIGINT rolls
// them back, SIGQUIT is "pg_ctl stop -m immediate": no checkpoint, so that it has to recover; SIGKILL ends it and all its
// processes at once.
func (s *Server) Stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := s.stop(signal); err != nil {
		t.Fatal(err)
	}
}

// Restart starts a server that was stopped, and waits until it answers.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) stop(signal syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	var children []int // which would go on serving their sessions for a while
	if signal == syscall.SIGKILL {
		children = childrenOf(s.cmd.Process.Pid)
	}
	if err := s.cmd.Process.Signal(signal); err != nil {
		return err
	}
	for _, pid := range children {
		_ = syscall.Kill(pid, signal) // it may have ended
	}
	select {
	case <-s.ended: // with what code, depends on the signal
		s.cmd = nil
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("PostgreSQL has not ended a minute after %v", signal)
	}
}

// childrenOf lists the processes that a process has made.
func childrenOf(parent int) (children []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// "pid (name) state parent ...": the name may hold anything.
		var state string
		var of int
		_, err = fmt.Sscan(string(text[bytes.LastIndexByte(text, ')')+1:]), &state, &of)
		if pid, err2 := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && err2 == nil && of == parent {
			children = append(children, pid)
		}
	}
	return children
}

// close stops the server and removes what it stored.
func (s *Server) close() error {
	err := s.stop(syscall.SIGQUIT)
	// After a SIGKILL of the server, its processes may still be ending.
	for range 100 {
		if err2 := os.RemoveAll(s.dir); err2 == nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// run starts the server and waits until it answers. After a SIGKILL it refuses to start until the last of the former
// processes has ended; then it is tried again.
func (s *Server) run() error {
	limit := time.Now().Add(time.Minute)
	for {
		err := s.launch()
		if err != nil {
			return err
		}
		for err = s.exec("SELECT 1"); err != nil && s.cmd != nil && time.Now().Before(limit); err = s.exec("SELECT 1") {
			select {
			case <-s.ended:
				s.cmd = nil
			case <-time.After(10 * time.Millisecond):
			}
		}
		if err == nil {
			return nil
		}
		if time.Now().After(limit) {
			log, _ := os.ReadFile(s.log())
			return fmt.Errorf("PostgreSQL does not start: %w\n%s", err, log)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *Server) log() string { return filepath.Join(s.dir, "log") }

func (s *Server) launch() error {
	args := []string{"-D", s.data(), "-c", "listen_addresses=", "-c", "unix_socket_directories=" + s.dir, "-c", "shared_buffers=32MB"}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), args...)
	as, err := owner()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.SysProcAttr, cmd.Dir, cmd.Stdout, cmd.Stderr = as, s.dir, log, log
	ended, started := make(chan error, 1), make(chan error)
	go func() {
		// The signal at the parent's death is sent at the death of the thread that made the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.cmd, s.ended = cmd, ended
	return nil
}
