package main

import (
	"context"
	"path/filepath"

	"vigie/storage/sqlstore"
)

type migrateCmd struct {
	DryRun bool `help:"Say from which schema to which it would be, and change nothing."`
}

// migrated is what vigie migrate --json prints.
type migrated struct {
	Catalogue string `json:"catalogue"`
	From      int64  `json:"from"` // number of the schema; 0: there was no catalogue
	To        int64  `json:"to"`
	DryRun    bool   `json:"dry_run,omitempty"`
}

// Run brings a catalogue to the schema of this program, as a node does at its start.
func (c *migrateCmd) Run(ctx context.Context, a *app) error {
	if a.Server != "" {
		return usagef("migrate works on a catalogue itself (--data or --database); --server names a node elsewhere")
	}
	schema, place, err := a.schema(ctx)
	if err != nil {
		return err
	}
	done := migrated{Catalogue: place, From: schema.Has, To: schema.Knows, DryRun: c.DryRun}
	if !c.DryRun && done.From < done.To {
		if a.Database == "" {
			lock, err := lockFor(a.Data, "a node or a command owns it, and has migrated it already")
			if err != nil {
				return err
			}
			defer lock.Close()
		}
		s, err := a.openCatalogue(ctx)
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return a.object(done)
	}
	switch {
	case done.From == done.To:
		a.say("%s has schema %d, that of this version: nothing to do.", place, done.From)
	case c.DryRun:
		a.say("%s has schema %d; it would be migrated to %d.", place, done.From, done.To)
	default:
		a.say("%s is migrated from schema %d to %d.", place, done.From, done.To)
	}
	return nil
}

// schema looks how far the catalogue was migrated, and says where it is.
func (a *app) schema(ctx context.Context) (s sqlstore.Schema, place string, err error) {
	if a.Database != "" {
		if place, err = sqlstore.PlaceOf(string(a.Database)); err == nil {
			s, err = sqlstore.SchemaOfPostgres(ctx, string(a.Database))
		}
		return s, place, err
	}
	if err := needOwn(a.Data); err != nil {
		return s, "", err
	}
	place = filepath.Join(a.Data, catalogueFile)
	s, err = sqlstore.SchemaOfSQLite(ctx, place)
	return s, place, err
}
