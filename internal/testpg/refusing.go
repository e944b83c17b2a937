package testpg

import (
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Refusing is the URL of what speaks PostgreSQL's protocol and answers everybody with one fault: a five-letter code, and a message. It
// is there until the test ends.
func Refusing(t testing.TB, code, message string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				b := pgproto3.NewBackend(conn, conn)
				if _, err := b.ReceiveStartupMessage(); err == nil {
					b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: message})
					_ = b.Flush()
				}
			}()
		}
	}()
	return "postgres://vigie@" + listener.Addr().String() + "/vigie?sslmode=disable"
}
