package matcher_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	for name, open := range catalogues {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var passed atomic.Int64
			now := func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(passed.Load())) }
			n := start(t, open(t), matcher.Options{Now: now})
			expiry := now().Add(time.Hour)
			expires, expiring, err := n.CreateKey(n.ctx, local, matcher.NewKey{Name: "expiring", Role: storage.Platform, Expires: expiry.In(time.FixedZone("east", 3600)).Add(time.Microsecond)})
			must(t, err)
			equal(t, expires.ExpiresAt, expiry) // in UTC, as the catalogue keeps it
			revoked, revoking, err := n.CreateKey(n.ctx, local, matcher.NewKey{Name: "revoked", Role: storage.Analyst})
			must(t, err)
			admin, lasting, err := n.CreateKey(n.ctx, local, matcher.NewKey{Name: "lasting", Role: storage.Admin})
			must(t, err)
			if !admin.ExpiresAt.IsZero() || len(admin.ID) != 12 || len(lasting) != len("vg_")+12+1+52 {
				t.Errorf("key %+v, %d characters", admin, len(lasting))
			}

			ended, err := n.RevokeKey(n.ctx, someone, revoked.ID)
			must(t, err)
			equal(t, ended.RevokedAt, now())
			before := len(n.changes())
			passed.Add(int64(time.Minute))
			again, err := n.RevokeKey(n.ctx, someone, revoked.ID)
			must(t, err)
			equal(t, again, ended)
			equal(t, len(n.changes()), before)
			_, err = n.RevokeKey(n.ctx, someone, "nobody")
			wantErr(t, err, matcher.ErrUnknownKey)

			secret := func(text string) string { return text[len("vg_")+13:] }
			for _, test := range []struct {
				name string
				text string
				want error
			}{
				{"admin", lasting, nil},
				{"not yet expired", expiring, nil},
				{"revoked", revoking, matcher.ErrRevokedKey},
				{"none", "", matcher.ErrNoKey},
				{"garbage", "garbage", matcher.ErrBadKey},
				{"underscores", "___", matcher.ErrBadKey},
				{"empty parts", "vg__", matcher.ErrBadKey},
				{"no secret", "vg_" + admin.ID + "_", matcher.ErrBadKey},
				{"a part too many", lasting + "_", matcher.ErrBadKey},
				{"other prefix", "VG" + lasting[2:], matcher.ErrBadKey},
				{"unknown id", "vg_aaaaaaaaaaaa_" + secret(lasting), matcher.ErrBadKey},
				{"another's secret", "vg_" + admin.ID + "_" + secret(expiring), matcher.ErrBadKey},
				{"revoked, with a wrong secret", "vg_" + revoked.ID + "_" + secret(lasting), matcher.ErrBadKey},
				{"upper case", strings.ToUpper(lasting), matcher.ErrBadKey},
				{"blank behind", lasting + " ", matcher.ErrBadKey},
				{"not UTF-8", "vg_\xff_\xff", matcher.ErrBadKey},
				{"long", strings.Repeat("vg_", 1<<20), matcher.ErrBadKey},
			} {
				t.Run(test.name, func(t *testing.T) {
					k, err := n.Authenticate(test.text)
					wantErr(t, err, test.want)
					if (err == nil) != (k.ID != "") {
						t.Errorf("key %+v with error %v", k, err)
					}
				})
			}
			k, err := n.Authenticate(lasting)
			must(t, err)
			equal(t, k, admin)
			passed.Add(int64(time.Hour - time.Minute)) // to the very moment
			_, err = n.Authenticate(expiring)
			wantErr(t, err, matcher.ErrExpiredKey)

			// Another node that loads the catalogue knows the same.
			other := follow(t, n.catalogue, matcher.Options{Now: now})
			defer other.stop()
			must(t, other.Follower().Await(n.ctx, n.Follower().Seq()))
			equal(t, other.Follower().State().Keys, n.Follower().State().Keys)

			for _, c := range n.changes() {
				if text := string(c.Body) + string(c.Private) + string(c.Record); strings.Contains(text, secret(lasting)) {
					t.Errorf("the log holds a secret: %s", text)
				}
			}
		})
	}
}

func TestCreateKeyRefuses(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, test := range []struct {
		name, key string
		role      storage.Role
		expires   time.Time
		field     string
	}{
		{"no name", "", storage.Admin, time.Time{}, "name"},
		{"long name", strings.Repeat("n", 101), storage.Admin, time.Time{}, "name"},
		{"role", "key", "king", time.Time{}, "role"},
		{"no role", "key", "", time.Time{}, "role"},
		{"past", "key", storage.Admin, time.Now().Add(-time.Second), "expires_at"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, text, err := n.CreateKey(n.ctx, local, matcher.NewKey{Name: test.key, Role: test.role, Expires: test.expires})
			wantInput(t, err, test.field)
			equal(t, text, "")
		})
	}
	m := matcher.New(n.catalogue, n.blobs, pictures, index.New(index.Options{}), matcher.Options{Rand: iotest.ErrReader(errDown)})
	_, _, err := m.CreateKey(context.Background(), local, matcher.NewKey{Name: "key", Role: storage.Admin})
	wantErr(t, err, errDown)
	_, err = m.Authenticate("vg_a_b")
	wantErr(t, err, matcher.ErrNotReady)
	equal(t, len(n.kinds()), 0)
}
