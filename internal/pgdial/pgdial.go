// Package pgdial makes the connections to PostgreSQL, for the catalogue and the jobs.
package pgdial

import (
	"context"
	"net"
	"time"
)

// Dial makes a connection, for pgx. A peer that is gone without a word is noticed within half a minute, also while it owes us an answer to
// what we sent.
func Dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4},
		Control:         boundUnanswered,
	}
	return d.DialContext(ctx, network, address)
}
