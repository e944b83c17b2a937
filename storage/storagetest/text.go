package storagetest

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

// testTexts: every implementation refuses the same texts, whatever its database makes of them.
func testTexts(t *testing.T, open Open) {
	bad := map[string]string{"NUL": "a\x00b", "NUL alone": "\x00", "not UTF-8": "a\xffb"}
	group(t, open, map[string]func(*fixture){
		"refused": func(f *fixture) {
			bank := f.bank("a")
			entry := f.entry(storage.Entry{Bank: bank.ID})
			f.update(func(w storage.Writer) error { return w.CreateKey(&storage.Key{ID: "k", Role: storage.Admin}) })
			match := storage.MatchRecord{ID: storage.MatchID{Node: "0000000a", Number: 1}, Party: 1, Entries: []storage.MatchEntry{{Entry: entry.ID, Bank: bank.ID}}}
			f.update(func(w storage.Writer) error { return w.AddMatches("0000000a", []storage.MatchRecord{match}) })
			for name, text := range bad {
				for what, write := range f.texts(bank, entry, match, text) {
					// Each alone: a database may lose the transaction with the first.
					if err := f.Update(f.ctx, write); !errors.Is(err, storage.ErrInvalid) {
						f.Errorf("%s, %s: got %v, want ErrInvalid", what, name, err)
					}
				}
			}
		},
		"asked for": func(f *fixture) {
			f.bank("a")
			for _, text := range bad {
				f.update(func(w storage.Writer) error {
					_, err1 := w.BankNamed(storage.Operator, text)
					_, err2 := w.PartyNamed(text)
					_, err3 := w.Key(text)
					_, err4 := w.Remembered(text, "a")
					_, err5 := w.Remembered("a", text)
					err6 := w.UpdateKey(storage.Key{ID: text})
					err7 := w.ForgetNode(text)
					for _, err := range []error{err1, err2, err3, err4, err5, err6, err7} {
						f.want(err, storage.ErrNotFound)
					}
					entries, err1 := w.Entries(storage.EntryQuery{Limit: 1, Label: text})
					matches, err2 := w.Matches(storage.MatchQuery{Limit: 1, Content: text})
					levels, err3 := w.Matches(storage.MatchQuery{Limit: 1, Level: text})
					erased, err4 := w.EraseContent(storage.Operator, text)
					sources, err5 := w.Rescans(storage.RescanQuery{Limit: 1, Source: text})
					states, err6 := w.Rescans(storage.RescanQuery{Limit: 1, State: storage.RescanState(text)})
					if len(entries)+len(matches)+len(levels)+erased+len(sources)+len(states) != 0 {
						f.Error("something is found")
					}
					return errors.Join(err1, err2, err3, err4, err5, err6, w.LeaveDispatch(text))
				})
			}
		},
		// JSON names what text must not have by its number.
		"escaped in JSON": func(f *fixture) {
			const nul = `"\u0000"`
			var c storage.Change
			f.update(func(w storage.Writer) error {
				c = storage.Change{Kind: "test", Body: json.RawMessage(nul), Private: json.RawMessage(nul)}
				return errors.Join(w.Append(&c), w.Remember(storage.Remembered{Scope: "s", Key: "k", Outcome: json.RawMessage(nul)}),
					w.AddMatches("0000000a", []storage.MatchRecord{{ID: storage.MatchID{Node: "0000000a", Number: 1}, Verdict: json.RawMessage(nul)}}))
			})
			f.view(func(r storage.Reader) error {
				said, err1 := r.Remembered("s", "k")
				match, err2 := r.Match(storage.MatchID{Node: "0000000a", Number: 1})
				f.same(nul, string(said.Outcome))
				f.same(nul, string(match.Verdict))
				return errors.Join(err1, err2)
			})
			changes, err := f.Changes(f.ctx, c.Seq-1, 1)
			f.must(err)
			f.same(nul, string(changes[0].Body))
			f.same(nul, string(changes[0].Private))
			_, err = storage.VerifyLog(f.ctx, f, nil)
			f.must(err)
		},
	})
}

// texts are all places of a text.
func (f *fixture) texts(bank storage.Bank, entry storage.Entry, match storage.MatchRecord, bad string) map[string]func(w storage.Writer) error {
	writes := map[string]func(w storage.Writer) error{}
	asJSON := json.RawMessage(`"` + bad + `"`)
	proposals := map[string]*storage.Proposal{
		"kind": {Kind: storage.Kind(bad)}, "actor": {Actor: bad}, "reason": {Reason: bad}, "labels": {Labels: []string{bad}},
		"name": {Bank: &storage.ProposedBank{Name: bad}}, "description": {Bank: &storage.ProposedBank{Description: bad}},
		"link": {Bank: &storage.ProposedBank{Policy: storage.Policy{Link: bad}}},
	}
	banks := map[string]storage.Bank{
		"name": {Name: bad}, "description": {Description: bad}, "kind": {Kind: storage.BankKind(bad)},
		"action": {Policy: storage.Policy{Action: bad}}, "link": {Policy: storage.Policy{Link: bad}},
	}
	entries := map[string]storage.Entry{
		"status": {Status: storage.Status(bad)}, "note": {Note: bad}, "reason": {Reason: bad}, "label": {Labels: []string{"a", bad}},
	}
	for name, p := range proposals {
		banks["proposal "+name], entries["proposal "+name] = storage.Bank{Proposal: p}, storage.Entry{Proposal: p}
	}
	for name, b := range banks {
		writes["new bank: "+name] = func(w storage.Writer) error { return w.CreateBank(&b) }
		b.ID = bank.ID
		writes["bank: "+name] = func(w storage.Writer) error { return w.UpdateBank(b) }
	}
	for name, e := range entries {
		e.ID, e.Bank = entry.ID, bank.ID
		if e.Status == "" {
			e.Status = storage.Active
		}
		writes["entry: "+name] = func(w storage.Writer) error { return w.UpdateEntry(e) }
	}
	entries["format"] = storage.Entry{Media: storage.MediaInfo{Format: bad}}
	for name, s := range map[string]storage.Source{"actor": {Actor: bad}, "origin": {Origin: bad}, "list": {List: bad}, "foreign id": {Foreign: bad}} {
		writes["source: "+name] = func(w storage.Writer) error { return w.AddSource(entry.ID, s) }
		entries["source "+name] = storage.Entry{Sources: []storage.Source{{}, s}}
	}
	for name, e := range entries {
		if e.Bank = bank.ID; e.Status == "" {
			e.Status = storage.Active
		}
		writes["new entry: "+name] = func(w storage.Writer) error { return w.CreateEntry(&e) }
		writes["new entries: "+name] = func(w storage.Writer) error {
			return w.CreateEntries([]*storage.Entry{{Bank: bank.ID, Status: storage.Active}, &e})
		}
	}
	for name, k := range map[string]storage.Key{"id": {ID: bad}, "name": {ID: "k2", Name: bad}, "role": {ID: "k2", Role: storage.Role(bad)}} {
		writes["key: "+name] = func(w storage.Writer) error { return w.CreateKey(&k) }
	}
	writes["changed key"] = func(w storage.Writer) error { return w.UpdateKey(storage.Key{ID: "k", Name: bad}) }
	for name, p := range map[string]storage.Party{"name": {Name: bad}, "kind": {Name: "p", Kind: storage.PartyKind(bad)}} {
		writes["new party: "+name] = func(w storage.Writer) error { return w.CreateParty(&p) }
		p.ID = storage.Operator
		writes["party: "+name] = func(w storage.Writer) error { return w.UpdateParty(p) }
	}
	for name, s := range map[string]storage.Subscription{"action": {Action: bad}, "link": {Link: bad}} {
		s.Party, s.Bank = storage.Operator, bank.ID
		writes["subscription: "+name] = func(w storage.Writer) error { return w.SetSubscription(s) }
	}
	writes["overlay"] = func(w storage.Writer) error {
		return w.SetOverlay(storage.Overlay{Party: storage.Operator, Entry: entry.ID, Labels: []string{bad}})
	}
	for name, o := range map[string]storage.Opinion{"stance": {Stance: storage.Stance(bad)}, "reason": {Reason: bad}, "actor": {Actor: bad}} {
		o.Party, o.Entry = storage.Operator, entry.ID
		writes["opinion: "+name] = func(w storage.Writer) error { return w.SetOpinion(o) }
	}
	for name, r := range map[string]storage.Remembered{"scope": {Scope: bad}, "key": {Key: bad}} {
		writes["remembered: "+name] = func(w storage.Writer) error { return w.Remember(r) }
	}
	for name, c := range map[string]storage.Change{"kind": {Kind: storage.Kind(bad)}, "actor": {Actor: bad}, "key": {Key: bad}, "body": {Body: asJSON}, "private": {Private: asJSON}} {
		writes["change: "+name] = func(w storage.Writer) error { return w.Append(&c) }
	}
	for name, m := range map[string]storage.MatchRecord{
		"key": {Key: bad}, "content": {ContentID: bad}, "level": {Level: bad}, "action": {Action: bad},
		"entry": {Entries: []storage.MatchEntry{{Entry: 1, Level: bad}}},
	} {
		m.ID = storage.MatchID{Node: "0000000b", Number: 1}
		writes["match: "+name] = func(w storage.Writer) error { return w.AddMatches("0000000b", []storage.MatchRecord{m}) }
	}
	for name, s := range map[string]storage.SignIn{"key": {Key: bad}, "address": {Address: bad}} {
		s.ID = storage.MatchID{Node: "0000000b", Number: 1}
		writes["sign-in: "+name] = func(w storage.Writer) error { return w.AddSignIns("0000000b", []storage.SignIn{s}) }
	}
	for name, d := range map[string]storage.Decision{"ruling": {Ruling: storage.Ruling(bad)}, "reason": {Reason: bad}, "actor": {Actor: bad}} {
		d.Match, d.Entries = match.ID, []storage.EntryID{entry.ID}
		writes["decision: "+name] = func(w storage.Writer) error { return w.AddDecision(&d) }
	}
	writes["extension: format"] = func(w storage.Writer) error {
		return w.Extend(entry.ID, []hashing.Signal{Signal(hashing.MD5, 1)}, storage.MediaInfo{Format: bad})
	}
	for name, n := range map[string]storage.NodeReport{
		"name": {Name: bad}, "version": {Version: bad}, "log": {LogID: bad}, "digest": {Sums: []storage.NodeSum{{Digest: bad}}},
		"place": {Claim: storage.NodeClaim{Place: bad}},
	} {
		n.ID = "0000000a"
		writes["node: "+name] = func(w storage.Writer) error { return w.ReportNode(n) }
	}
	for name, h := range map[string]storage.Webhook{
		"address": {URL: bad}, "kind": {Kinds: []string{bad}}, "secret": {Secret: bad}, "old secret": {OldSecret: bad}, "disabled": {Disabled: bad},
	} {
		h.Party = storage.Operator
		writes["webhook: "+name] = func(w storage.Writer) error { return w.CreateWebhook(&h) }
	}
	writes["dispatch: holder"] = func(w storage.Writer) error {
		_, err := w.TakeDispatch(bad, time.Minute)
		return err
	}
	for name, r := range map[string]storage.Rescan{
		"key": {Key: bad}, "source": {Source: bad}, "bank": {Options: storage.RescanOptions{Banks: []string{bad}}},
	} {
		r.Party = storage.Operator
		writes["re-scan: "+name] = func(w storage.Writer) error { return w.CreateRescan(&r) }
	}
	// planned makes a re-scan with a shard, in the update that is to fail.
	planned := func(w storage.Writer, p storage.Plan) (storage.Shard, error) {
		r := storage.Rescan{Party: storage.Operator, Source: "s"}
		shards := []storage.Shard{{To: "z"}}
		err := w.CreateRescan(&r)
		if err == nil {
			r, err = w.PlanRescan(r.ID)
		}
		if err == nil {
			err = w.AddShards(r.ID, r.Attempt, p, shards)
		}
		if err != nil {
			return storage.Shard{}, err
		}
		_, s, err := w.TakeShard(r.ID, 1)
		return s, err
	}
	writes["shards: version"] = func(w storage.Writer) error {
		_, err := planned(w, storage.Plan{Version: bad})
		return err
	}
	for name, h := range map[string]storage.RescanHit{"level": {Level: bad}, "action": {Action: bad}, "verdict": {Verdict: asJSON}} {
		writes["hit: "+name] = func(w storage.Writer) error {
			s, err := planned(w, storage.Plan{})
			if err != nil {
				return err
			}
			return w.SaveShard(storage.ShardProgress{Rescan: s.Rescan, Shard: s.Number, Attempt: s.Attempt, Hits: []storage.RescanHit{h}})
		}
	}
	return writes
}
