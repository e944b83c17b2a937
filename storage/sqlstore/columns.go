package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

// scanner is a row, of one or of many.
type scanner interface{ Scan(targets ...any) error }

// list runs a query and reads all its rows, nil if there are none.
func list[T any](ctx context.Context, db queryer, scan func(scanner) (T, error), query string, args ...any) (all []T, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// The columns below read what is stored in another form than the field has.

type timeColumn struct{ to *time.Time }

func (c timeColumn) Scan(v any) error {
	ms, ok := v.(int64)
	if !ok {
		return fmt.Errorf("time is a %T: %w", v, storage.ErrCorrupt)
	}
	*c.to = time.Time{}
	if ms != 0 {
		*c.to = time.UnixMilli(ms).UTC()
	}
	return nil
}

type hashColumn struct{ to *storage.Hash }

func (c hashColumn) Scan(v any) error {
	b, ok := v.([]byte)
	if !ok || len(b) != len(c.to) {
		return fmt.Errorf("hash of %d bytes: %w", len(b), storage.ErrCorrupt)
	}
	*c.to = storage.Hash(b)
	return nil
}

type valueColumn struct{ to *hashing.Value }

func (c valueColumn) Scan(v any) error {
	b, ok := v.([]byte)
	if !ok && v != nil {
		return fmt.Errorf("value is a %T: %w", v, storage.ErrCorrupt)
	}
	*c.to = hashing.ValueFromBytes(b)
	return nil
}

// jsonColumn leaves what it reads into as it is if the column is NULL.
type jsonColumn struct{ to any }

func (c jsonColumn) Scan(v any) error {
	if v == nil {
		return nil
	}
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("JSON is a %T: %w", v, storage.ErrCorrupt)
	}
	if err := json.Unmarshal([]byte(text), c.to); err != nil {
		return fmt.Errorf("%v: %w", err, storage.ErrCorrupt)
	}
	return nil
}

// jsonText is what jsonColumn reads: NULL for nothing, which is what null says in JSON.
func jsonText(v any) (text any, err error) {
	b, err := json.Marshal(v)
	if err != nil || string(b) == "null" {
		return nil, err
	}
	return string(b), nil
}

// shaBytes is how a SHA-256 is stored; an unknown one is empty.
func shaBytes(sha hashing.Value) []byte {
	if sha == (hashing.Value{}) {
		return []byte{}
	}
	return sha.Bytes(32)
}

// jsonList is the parameter of dialect.ids.
func jsonList[T ~int64 | ~uint64 | ~uint32](ids []T) string {
	b := make([]byte, 0, 8*len(ids)+2)
	b = append(b, '[')
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(id), 10)
	}
	return string(append(b, ']'))
}
