// Package tests3 starts throw-away S3 servers for tests: versitygw over a folder.
//
// A package whose tests only need a bucket calls [Main] in its TestMain, and [Bucket] in its tests: they share one
// server. A test that stops or kills the server starts one of its own by [Start].
//
// Without versitygw ("make s3server" builds it) such tests are skipped, and say so; if the variable CI is true, they
// fail.
package tests3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sys/unix"

	"vigie/internal/testneed"
)

// The keys that every server lets in.
const (
	AccessKey = "vigie-test"
	SecretKey = "only-for-tests"
	Region    = "us-east-1"
)

// shared is the server of this test binary; nil until the first test wants it.
var shared struct {
	sync.Mutex
	server *Server
	err    error
}

// Main runs the tests of a package and stops their server: os.Exit(tests3.Main(m)). The tests find the keys in the
// environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY).
func Main(m *testing.M) int {
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": AccessKey, "AWS_SECRET_ACCESS_KEY": SecretKey} {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		if err := shared.server.close(); err != nil {
			fmt.Fprintln(os.Stderr, "stop versitygw:", err)
			return max(code, 1)
		}
	}
	return code
}

// Bucket makes a bucket on the shared server and returns its URL, as vigie/storage/media.OpenS3 takes it.
func Bucket(t testing.TB) string {
	t.Helper()
	s := Shared(t)
	return s.URL(s.Bucket(t, false))
}

// Shared is the server that all tests of a package share. None of them may stop it.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = start(t.Context())
	}
	if shared.err != nil {
		testneed.End(t, shared.err)
	}
	return shared.server
}

// Server is a running versitygw on a port of this machine.
type Server struct {
	program, dir string
	address      string // host:port
	sidecar      bool   // the file system keeps no attributes of files
	client       *minio.Client
	buckets      int
	mu           sync.Mutex

	cmd   *exec.Cmd // nil while it is stopped
	ended chan error
}

// Start starts a server. It ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := start(t.Context())
	if err != nil {
		testneed.End(t, err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Errorf("stop versitygw: %v", err)
		}
	})
	return s
}

// StepBack has the server run only when nobody else on the machine wants a processor (sched(7), SCHED_IDLE): what it costs is not
// felt, as if it were on a machine of its own. Until it is stopped.
func (s *Server) StepBack(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if out, err := exec.Command("chrt", "--all-tasks", "--idle", "--pid", "0", strconv.Itoa(s.cmd.Process.Pid)).CombinedOutput(); err != nil {
		t.Fatalf("lower the priority of versitygw: %v: %s", err, out)
	}
}

// errMissing: the machine has no versitygw.
var errMissing = testneed.Missing("versitygw", "s3server")

// program is versitygw: that of the module's tools, or else of PATH.
func program() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for parent := filepath.Dir(dir); dir != parent; dir, parent = parent, filepath.Dir(parent) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
			continue
		}
		if p, err := exec.LookPath(filepath.Join(dir, ".tools", "bin", "versitygw")); err == nil {
			return p, nil
		}
	}
	if p, err := exec.LookPath("versitygw"); err == nil {
		return p, nil
	}
	return "", errMissing
}

func start(ctx context.Context) (s *Server, err error) {
	s = &Server{}
	if s.program, err = program(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "vigie-s3-"); err != nil {
		return nil, err
	}
	for _, dir := range []string{s.data(), s.versions(), s.attributes()} {
		err = errors.Join(err, os.Mkdir(dir, 0o700))
	}
	s.sidecar = unix.Setxattr(s.data(), "user.vigie", []byte("x"), 0) != nil
	if err == nil {
		s.address, err = freeAddress()
	}
	if err == nil {
		s.client, err = minio.New(s.address, &minio.Options{
			Creds: credentials.NewStaticV4(AccessKey, SecretKey, ""), Region: Region, BucketLookup: minio.BucketLookupPath, MaxRetries: 1,
		})
	}
	if err == nil {
		err = s.run(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	return s, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (s *Server) data() string       { return filepath.Join(s.dir, "data") }
func (s *Server) versions() string   { return filepath.Join(s.dir, "versions") }
func (s *Server) attributes() string { return filepath.Join(s.dir, "attributes") }

// Address is the server's host:port.
func (s *Server) Address() string { return s.address }

// Abandon leaves an upload that was begun some time ago and has one of its parts.
func (s *Server) Abandon(t testing.TB, bucket, key string, ago time.Duration) {
	t.Helper()
	core := minio.Core{Client: s.client}
	id, err := core.NewMultipartUpload(t.Context(), bucket, key, minio.PutObjectOptions{})
	if err == nil {
		_, err = core.PutObjectPart(t.Context(), bucket, key, id, 1, strings.NewReader("part"), 4, minio.PutObjectPartOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-ago)
	dirs, err := filepath.Glob(s.Path(bucket, ".sgwtmp/multipart/*/"+id)) // whose time is that of the upload
	if err != nil || len(dirs) != 1 {
		t.Fatalf("the folder of an upload: %v, %v", dirs, err)
	}
	if err := os.Chtimes(dirs[0], at, at); err != nil {
		t.Fatal(err)
	}
}

// Abandoned are the keys of the uploads that have not come to their end, in order.
func (s *Server) Abandoned(t testing.TB, bucket string) (keys []string) {
	t.Helper()
	for u := range s.client.ListIncompleteUploads(t.Context(), bucket, "", true) {
		if u.Err != nil {
			t.Fatal(u.Err)
		}
		keys = append(keys, u.Key)
	}
	slices.Sort(keys)
	return keys
}

// Path is the file that holds an object, for tests that damage it.
func (s *Server) Path(bucket, key string) string {
	return filepath.Join(s.data(), bucket, filepath.FromSlash(key))
}

// Client speaks to the server as a test does that puts things there or looks at them.
func (s *Server) Client() *minio.Client { return s.client }

// Bucket makes an empty bucket and returns its name. With locks, its objects have versions, and can be locked.
func (s *Server) Bucket(t testing.TB, locks bool) string {
	t.Helper()
	s.mu.Lock()
	s.buckets++
	name := fmt.Sprintf("bucket-%d", s.buckets)
	s.mu.Unlock()
	if err := s.client.MakeBucket(t.Context(), name, minio.MakeBucketOptions{ObjectLocking: locks}); err != nil {
		t.Fatal(err)
	}
	return name
}

// URL is that of a bucket.
func (s *Server) URL(bucket string) string { return s.Via(s.address, bucket) }

// Via is the URL of a bucket that is reached by another address, a proxy's.
func (s *Server) Via(address, bucket string) string {
	u := url.URL{Scheme: "s3", Host: bucket, RawQuery: url.Values{
		"endpoint": {"http://" + address}, "path-style": {"true"}, "region": {Region},
	}.Encode()}
	return u.String()
}

// Stop ends the server by a signal, SIGTERM or SIGKILL, and waits for its end.
func (s *Server) Stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := s.stop(signal); err != nil {
		t.Fatal(err)
	}
}

// Restart starts a server that was stopped, at the same address, and waits until it answers.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) stop(signal syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(signal); err != nil {
		return err
	}
	select {
	case <-s.ended: // with what code, depends on the signal
		s.cmd = nil
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("versitygw has not ended a minute after %v", signal)
	}
}

// close stops the server and removes what it stored.
func (s *Server) close() error { return errors.Join(s.stop(syscall.SIGKILL), os.RemoveAll(s.dir)) }

// run starts the server and waits until it answers.
func (s *Server) run(ctx context.Context) error {
	if err := s.launch(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, err := s.client.ListBuckets(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			s.cmd = nil
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
			continue
		}
		log, _ := os.ReadFile(s.log())
		return errors.Join(fmt.Errorf("versitygw does not start: %w\n%s", err, log), s.stop(syscall.SIGKILL))
	}
}

func (s *Server) log() string { return filepath.Join(s.dir, "log") }

func (s *Server) launch() error {
	args := []string{"--port", s.address, "--access", AccessKey, "--secret", SecretKey, "--region", Region, "--keep-alive", "--quiet", "posix", "--versioning-dir", s.versions()}
	if s.sidecar {
		args = append(args, "--sidecar", s.attributes())
	}
	cmd := exec.Command(s.program, append(args, s.data())...)
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL, // it does not outlive a test that was killed
		Setpgid:   true,            // and what interrupts the test leaves it to the test to stop it
	}
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
