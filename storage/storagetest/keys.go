package storagetest

import (
	"testing"
	"time"

	"vigie/storage"
)

func testKeys(t *testing.T, open Open) {
	group(t, open, map[string]func(*fixture){
		"round trip": func(f *fixture) {
			later := time.Date(2027, 1, 2, 3, 4, 5, 6_000_000, time.FixedZone("", 3600))
			b := storage.Key{ID: "b", Name: "Zoë", Role: storage.Admin, Hash: [32]byte{1, 31: 2}}
			a := storage.Key{ID: "a", Name: "A", Party: f.party("p").ID, Role: storage.Auditor, ExpiresAt: later}
			f.update(func(w storage.Writer) error {
				if err := w.CreateKey(&b); err != nil {
					return err
				}
				return w.CreateKey(&a)
			})
			if b.CreatedAt.IsZero() || b.Party != storage.Operator {
				f.Errorf("CreateKey set the time %v and the party %d", b.CreatedAt, b.Party)
			}
			a.ExpiresAt = a.ExpiresAt.UTC()
			f.same([]storage.Key{b, a}, Dump(f, f.Catalogue).Keys) // by creation

			b.Name, b.RevokedAt = "gone", later.UTC()
			ignored := b
			ignored.Party, ignored.Role, ignored.Hash, ignored.CreatedAt = 2, storage.Platform, [32]byte{}, later
			f.update(func(w storage.Writer) error {
				if err := w.UpdateKey(ignored); err != nil {
					return err
				}
				return w.Append(&storage.Change{Kind: storage.KeyRevoked, Key: "b"})
			})
			b.Seq = 2 // the party has the first
			f.view(func(r storage.Reader) error {
				got, err := r.Key("b")
				f.same(b, got)
				return err
			})
		},
		"refused": func(f *fixture) {
			f.update(func(w storage.Writer) error {
				_, err := w.Key("a")
				f.want(err, storage.ErrNotFound)
				f.want(w.UpdateKey(storage.Key{ID: "a"}), storage.ErrNotFound)
				if err := w.CreateKey(&storage.Key{ID: "a", Role: storage.Admin}); err != nil {
					return err
				}
				f.want(w.CreateKey(&storage.Key{ID: "a", Role: storage.Platform}), storage.ErrExists)
				f.want(w.CreateKey(&storage.Key{ID: "b", Party: 9}), storage.ErrNotFound)
				k, err := w.Key("a")
				if k.Role != storage.Admin {
					f.Errorf("the key was replaced: %+v", k)
				}
				return err
			})
		},
	})
}
