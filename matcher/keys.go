package matcher

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"vigie/storage"
)

// A key is written vg_<id>_<secret>: 12 and 52 characters of this alphabet (60 and 256 bits).
var keyText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const (
	keyPrefix     = "vg"
	keyIDLength   = 12
	secretBytes   = 32
	maxKeyName    = 100
	keyIDRandom   = 8 // bytes, of which 12 characters are taken
	keyPartsCount = 3
)

// NewKey is a key to be made.
type NewKey struct {
	Name    string
	Role    storage.Role
	Party   string    // name; none: the maker's own. Others are for the operator.
	Expires time.Time // zero: never
}

// CreateKey makes a key and returns its secret, which is stored only as a digest. If the context's request comes again, the
// secret is gone: it is empty then. ErrUnknownParty, ErrOperator, [*InputError].
func (m *Matcher) CreateKey(ctx context.Context, who Principal, n NewKey) (storage.Key, string, error) {
	name, role, expires := n.Name, n.Role, n.Expires
	switch {
	case name == "" || len(name) > maxKeyName:
		return storage.Key{}, "", invalid("name", "%d bytes; accepted are 1 to %d", len(name), maxKeyName)
	case !slices.Contains(storage.Roles(), role):
		return storage.Key{}, "", invalid("role", "%q; accepted are platform, analyst, admin, auditor", role)
	case !expires.IsZero() && !expires.After(m.o.Now()):
		return storage.Key{}, "", invalid("expires_at", "it is past")
	}
	random := make([]byte, keyIDRandom+secretBytes)
	if _, err := io.ReadFull(m.o.Rand, random); err != nil {
		return storage.Key{}, "", fmt.Errorf("draw a key: %w", err)
	}
	id := keyText.EncodeToString(random[:keyIDRandom])[:keyIDLength]
	secret := keyText.EncodeToString(random[keyIDRandom:])
	key := storage.Key{ID: id, Name: name, Role: role, Hash: sha256.Sum256([]byte(secret)), ExpiresAt: milliseconds(expires)}
	done, err := m.update(ctx, func(w storage.Writer) (*storage.Change, error) {
		k := key
		k.Party = who.Party
		if n.Party != "" {
			p, err := w.PartyNamed(n.Party)
			if err != nil {
				return nil, translate(err, ErrUnknownParty, n.Party)
			}
			if p.ID != who.Party && !who.runs() {
				return nil, ErrOperator
			}
			k.Party = p.ID
		}
		if err := w.CreateKey(&k); err != nil {
			return nil, err
		}
		key.CreatedAt, key.Party = k.CreatedAt, k.Party
		return keyChange(storage.KeyCreated, who.Actor, k), nil
	})
	if err != nil {
		return storage.Key{}, "", err
	}
	if done.replayed {
		err := m.catalogue.View(ctx, func(r storage.Reader) (err error) {
			key, err = r.Key(done.Key)
			return err
		})
		return key, "", err
	}
	key.Seq = done.Seq
	m.settle(ctx, done.Seq)
	return key, strings.Join([]string{keyPrefix, id, secret}, "_"), nil
}

// RevokeKey ends a key of who's party; the operator may end all. Revoking twice changes nothing and is no error. ErrUnknownKey.
func (m *Matcher) RevokeKey(ctx context.Context, who Principal, id string) (storage.Key, error) {
	var key storage.Key
	done, err := m.update(ctx, func(w storage.Writer) (_ *storage.Change, err error) {
		key, err = w.Key(id)
		if err == nil && key.Party != who.Party && !who.runs() {
			err = storage.ErrNotFound
		}
		if err != nil {
			return nil, translate(err, ErrUnknownKey, id)
		}
		if !key.RevokedAt.IsZero() {
			return &storage.Change{Key: key.ID}, nil
		}
		key.RevokedAt = milliseconds(m.o.Now())
		return keyChange(storage.KeyRevoked, who.Actor, key), w.UpdateKey(key)
	})
	if err != nil {
		return storage.Key{}, err
	}
	if done.replayed {
		err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
			key, err = r.Key(done.Key)
			return err
		})
	} else if done.Seq > 0 {
		key.Seq = done.Seq
		m.settle(ctx, done.Seq)
	}
	return key, err
}

// milliseconds is a time as the catalogue keeps it.
func milliseconds(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func keyChange(kind storage.Kind, actor string, k storage.Key) *storage.Change {
	body := storage.KeyBody{Party: k.Party, Role: k.Role}
	if !k.ExpiresAt.IsZero() {
		body.ExpiresAt = &k.ExpiresAt
	}
	if !k.RevokedAt.IsZero() {
		body.RevokedAt = &k.RevokedAt
	}
	return draft(storage.Change{Kind: kind, Actor: actor, Key: k.ID}, body, private{Name: k.Name})
}

// Authenticate finds the key behind its text, in memory: ErrNoKey, ErrBadKey, ErrExpiredKey,
// ErrRevokedKey, ErrSuspended, ErrNotReady. Unknown ids and wrong secrets are not told apart.
func (m *Matcher) Authenticate(text string) (storage.Key, error) {
	if text == "" {
		return storage.Key{}, ErrNoKey
	}
	state, err := m.state()
	if err != nil {
		return storage.Key{}, err
	}
	parts := strings.Split(text, "_")
	if len(parts) != keyPartsCount || parts[0] != keyPrefix {
		return storage.Key{}, ErrBadKey
	}
	key := state.Keys[parts[1]] // zero if unknown: its Hash is no digest of anything
	digest := sha256.Sum256([]byte(parts[2]))
	if subtle.ConstantTimeCompare(digest[:], key.Hash[:]) != 1 {
		return storage.Key{}, ErrBadKey
	}
	if err := m.standing(state, key); err != nil {
		return storage.Key{}, err
	}
	return key, nil
}

// Standing reports whether a key that was authenticated before is still good, for requests that last:
// ErrBadKey, ErrExpiredKey, ErrRevokedKey, ErrSuspended, ErrNotReady.
func (m *Matcher) Standing(id string) error {
	state, err := m.state()
	if err != nil {
		return err
	}
	key, ok := state.Keys[id]
	if !ok {
		return ErrBadKey
	}
	return m.standing(state, key)
}

func (m *Matcher) standing(s *State, key storage.Key) error {
	switch {
	case !key.RevokedAt.IsZero():
		return ErrRevokedKey
	case !key.ExpiresAt.IsZero() && !m.o.Now().Before(key.ExpiresAt):
		return ErrExpiredKey
	case s.Parties[key.Party].Suspended:
		return ErrSuspended
	}
	return nil
}
