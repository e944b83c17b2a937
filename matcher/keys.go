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

// CreateKey makes a key and returns its secret, which is stored only as a digest. A zero expiry
// means never. [*InputError].
func (m *Matcher) CreateKey(ctx context.Context, actor, name string, role storage.Role, expires time.Time) (storage.Key, string, error) {
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
	seq, err := m.update(ctx, func(w storage.Writer) (*storage.Change, error) {
		k := key
		if err := w.CreateKey(&k); err != nil {
			return nil, err
		}
		key.CreatedAt = k.CreatedAt
		return keyChange(storage.KeyCreated, actor, k), nil
	})
	if err != nil {
		return storage.Key{}, "", err
	}
	key.Seq = seq
	m.settle(ctx, seq)
	return key, strings.Join([]string{keyPrefix, id, secret}, "_"), nil
}

// RevokeKey ends a key. Revoking twice changes nothing and is no error. ErrUnknownKey.
func (m *Matcher) RevokeKey(ctx context.Context, actor, id string) (storage.Key, error) {
	var key storage.Key
	seq, err := m.update(ctx, func(w storage.Writer) (_ *storage.Change, err error) {
		if key, err = w.Key(id); err != nil {
			return nil, translate(err, ErrUnknownKey, id)
		}
		if !key.RevokedAt.IsZero() {
			return nil, nil
		}
		key.RevokedAt = milliseconds(m.o.Now())
		return keyChange(storage.KeyRevoked, actor, key), w.UpdateKey(key)
	})
	if err != nil {
		return storage.Key{}, err
	}
	if seq > 0 {
		key.Seq = seq
		m.settle(ctx, seq)
	}
	return key, nil
}

// milliseconds is a time as the catalogue keeps it.
func milliseconds(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func keyChange(kind storage.Kind, actor string, k storage.Key) *storage.Change {
	body := storage.KeyBody{Role: k.Role}
	if !k.ExpiresAt.IsZero() {
		body.ExpiresAt = &k.ExpiresAt
	}
	if !k.RevokedAt.IsZero() {
		body.RevokedAt = &k.RevokedAt
	}
	return draft(storage.Change{Kind: kind, Actor: actor, Key: k.ID}, body, private{Name: k.Name})
}

// Authenticate finds the key behind its text, in memory: ErrNoKey, ErrBadKey, ErrExpiredKey,
// ErrRevokedKey, ErrNotReady. Unknown ids and wrong secrets are not told apart.
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
	if err := m.standing(key); err != nil {
		return storage.Key{}, err
	}
	return key, nil
}

// Standing reports whether a key that was authenticated before is still good, for requests that last:
// ErrBadKey, ErrExpiredKey, ErrRevokedKey, ErrNotReady.
func (m *Matcher) Standing(id string) error {
	state, err := m.state()
	if err != nil {
		return err
	}
	key, ok := state.Keys[id]
	if !ok {
		return ErrBadKey
	}
	return m.standing(key)
}

func (m *Matcher) standing(key storage.Key) error {
	switch {
	case !key.RevokedAt.IsZero():
		return ErrRevokedKey
	case !key.ExpiresAt.IsZero() && !m.o.Now().Before(key.ExpiresAt):
		return ErrExpiredKey
	}
	return nil
}
