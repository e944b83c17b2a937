package tests3

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/minio/minio-go/v7"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// TestServer: what was put is there after every kind of end, buckets are apart from each other, and other keys are
// refused.
func TestServer(t *testing.T) {
	t.Parallel()
	s := Start(t)
	one, two := s.Bucket(t, false), s.Bucket(t, true)
	for i, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		key := string(rune('a' + i))
		if _, err := s.Client().PutObject(t.Context(), one, key, strings.NewReader(key), 1, minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
		s.Stop(t, signal)
		if _, err := s.Client().ListBuckets(t.Context()); err == nil {
			t.Errorf("after %v the server still answers", signal)
		}
		s.Restart(t)
		o, err := s.Client().GetObject(t.Context(), one, key, minio.GetObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(o); string(got) != key || err != nil {
			t.Errorf("after %v: %q, %v", signal, got, err)
		}
		if _, err := s.Client().StatObject(t.Context(), two, key, minio.StatObjectOptions{}); minio.ToErrorResponse(err).Code != minio.NoSuchKey {
			t.Errorf("in the other bucket: %v", err)
		}
	}
	if lock, _, _, _, err := s.Client().GetObjectLockConfig(t.Context(), two); lock != "Enabled" || err != nil {
		t.Errorf("a bucket with locks has lock %q, %v", lock, err)
	}
	if a, b := Bucket(t), Bucket(t); a == b {
		t.Error("two buckets are one")
	}
}
