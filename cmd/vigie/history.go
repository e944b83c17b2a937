package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"vigie/storage"
	"vigie/storage/history"
)

type historyCmd struct {
	Status historyStatusCmd `cmd:"" default:"withargs" help:"Say how many uploads are in files, of each party, and what is not in files yet."`
	Verify historyVerifyCmd `cmd:"" help:"Read all files in full; the exit code is 1 if one is damaged."`
}

// keptUploads is what the files of a party have, or all files.
type keptUploads struct {
	Party   string    `json:"party,omitempty"` // empty: all
	Files   int       `json:"files"`
	Uploads int64     `json:"uploads"`
	Bytes   int64     `json:"bytes"`
	Oldest  time.Time `json:"oldest,omitzero"` // the hour of the oldest upload
	Newest  time.Time `json:"newest,omitzero"` // the end of the newest upload's hour
}

func (k *keptUploads) add(f history.File, rows, bytes int64) {
	if k.Files == 0 || f.Hour.Before(k.Oldest) {
		k.Oldest = f.Hour
	}
	if end := f.Hour.Add(time.Hour); end.After(k.Newest) {
		k.Newest = end
	}
	k.Files++
	k.Uploads += rows
	k.Bytes += bytes
}

// historySummary is the last line of vigie history --json.
type historySummary struct {
	keptUploads
	Unsealed int64        `json:"unsealed_bytes"`   // in the journal of this data folder
	Window   *windowState `json:"window,omitempty"` // of the node that runs on it
	Damaged  int          `json:"damaged"`          // files
}

type windowState struct {
	Uploads int64 `json:"uploads"`
	Bytes   int64 `json:"bytes"` // of memory
}

// historyReaders is how many files are read at a time: in a bucket most of the time a network is waited for.
const historyReaders = 4

// readHistory has all files read, told are the damaged ones, and returns what they have by party.
func (a *app) readHistory(ctx context.Context, command string, read func(history.File, context.Context, history.Store) (rows, bytes int64, err error)) (parties []keptUploads, sum historySummary, err error) {
	if a.Server != "" {
		return nil, sum, usagef("%s reads a data folder of this machine, or a bucket (--data, --media); --server names a node elsewhere", command)
	}
	if err := needNode(a.Data); err != nil {
		return nil, sum, err
	}
	places, err := a.uploadsToRead(ctx)
	if err != nil {
		return nil, sum, err
	}
	defer places.Close()
	var files []historyFile
	for _, s := range places.stores() {
		for f, listErr := range history.List(ctx, s) {
			if listErr != nil {
				return nil, sum, listErr
			}
			files = append(files, historyFile{f, s})
		}
	}
	m := a.meter("files", int64(len(files)), false)
	var mu sync.Mutex
	of := map[storage.PartyID]*keptUploads{}
	g, some := errgroup.WithContext(ctx)
	g.SetLimit(historyReaders)
	for _, f := range files {
		g.Go(func() error {
			rows, bytes, err := read(f.File, some, f.store)
			m.add(1)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, storage.ErrNotFound): // its time has passed, or it was moved
				return nil
			case errors.Is(err, storage.ErrCorrupt):
				sum.Damaged++
				a.warn("%s", oneLine(err))
				return nil
			case err != nil:
				return err
			}
			if of[f.Party] == nil {
				of[f.Party] = &keptUploads{}
			}
			of[f.Party].add(f.File, rows, bytes)
			sum.add(f.File, rows, bytes)
			return nil
		})
	}
	err = g.Wait()
	m.end()
	if err != nil {
		return nil, sum, err
	}
	names := a.namesOfParties(ctx)
	for id, k := range of {
		k.Party = cmp.Or(names[id], fmt.Sprint(id))
		parties = append(parties, *k)
	}
	slices.SortFunc(parties, func(a, b keptUploads) int { return strings.Compare(a.Party, b.Party) })
	return parties, sum, nil
}

type historyFile struct {
	history.File
	store history.Store
}

// stores are the places to look at.
func (u uploads) stores() (all []history.Store) {
	if u.former != nil {
		all = append(all, u.former)
	}
	if u.Store != nil {
		all = append(all, u.Store)
	}
	return all
}

// namesOfParties are the names in the catalogue; nil if that cannot be read.
func (a *app) namesOfParties(ctx context.Context) map[storage.PartyID]string {
	s, err := a.look(ctx)
	if err != nil {
		return nil
	}
	defer s.Close()
	names := map[storage.PartyID]string{}
	_ = s.View(ctx, func(r storage.Reader) error {
		parties, err := r.Parties()
		for _, p := range parties {
			names[p.ID] = p.Name
		}
		return err
	})
	return names
}

type historyStatusCmd struct{}

// Run says what the history has, whether or not a node runs.
func (historyStatusCmd) Run(ctx context.Context, a *app) error {
	parties, sum, err := a.readHistory(ctx, "history", history.File.Describe)
	if err != nil {
		return err
	}
	journal, err := history.LookAtJournal(a.Data, false)
	if err != nil {
		return err
	}
	sum.Unsealed, sum.Window = journal.Bytes, a.windowOfNode(ctx)
	if err := list(a.printer, parties, []string{"PARTY", "UPLOADS", "FILES", "SIZE", "OLDEST", "NEWEST"}, func(k keptUploads) []string {
		return []string{k.Party, fmt.Sprint(k.Uploads), fmt.Sprint(k.Files), humanBytes(k.Bytes), k.Oldest.Local().Format(stamp), k.Newest.Local().Format(stamp)}
	}); err != nil {
		return err
	}
	if a.json {
		err = a.object(map[string]historySummary{"summary": sum})
	}
	a.say("%d uploads in %s, %s. Not in files yet: %s of the journal in %s.", sum.Uploads, plural(sum.Files, "file"), humanBytes(sum.Bytes), humanBytes(sum.Unsealed), a.Data)
	if w := sum.Window; w != nil {
		a.say("The node that runs on it has the newest %d in memory, %s.", w.Uploads, humanBytes(w.Bytes))
	}
	if err == nil && sum.Damaged > 0 {
		err = errSomeFailed
	}
	return err
}

type historyVerifyCmd struct{}

// Run reads all files in full.
func (historyVerifyCmd) Run(ctx context.Context, a *app) error {
	_, sum, err := a.readHistory(ctx, "history verify", history.File.Verify)
	if err != nil {
		return err
	}
	if a.json {
		err = a.object(map[string]historySummary{"summary": sum})
	}
	a.say("%d uploads in %s, %s: each was read and is what its file and its name say.", sum.Uploads, plural(sum.Files, "file"), humanBytes(sum.Bytes))
	if sum.Damaged > 0 {
		a.warn("%s damaged: what is in them is not found. If there is no copy, remove them", plural(sum.Damaged, "file"))
		return errors.Join(err, errSomeFailed)
	}
	return err
}

// windowOfNode asks the node that runs on the data folder what it has in memory; nil if none does, or it keeps its numbers to another
// address (--listen-private).
func (a *app) windowOfNode(ctx context.Context) *windowState {
	ctx, cancel := context.WithTimeout(ctx, ownerPatience)
	defer cancel()
	conn, err := dialSocket(ctx, a.Data)
	if err != nil {
		return nil
	}
	_ = conn.Close()
	transport := &http.Transport{DialContext: (&client{config: &a.Config, settled: true}).dial}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://vigie/metrics", nil)
	if err != nil {
		return nil
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	found := map[string]int64{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			found[name] = int64(n)
		}
	}
	rows, there := found["vigie_uploads_window_rows"]
	if response.StatusCode != http.StatusOK || !there {
		return nil
	}
	return &windowState{rows, found["vigie_uploads_window_bytes"]}
}
