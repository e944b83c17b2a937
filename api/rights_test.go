package api_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/rescan"
	"vigie/storage"
	"vigie/storage/memory"
)

// The matrix of rights: every operation of the contract, asked by every role of the party that owns what is asked about, of
// a member of its bank, of a foreign party, and of the operator, and by nobody. What is expected stands in rules, in the words of
// who may; the golden file is for people to read.

// relation is how who asks stands to what is asked about.
type relation int

const (
	owner relation = iota
	member
	stranger
	overseer // the operator's admin or auditor; its other keys are strangers
	relations
)

// rule says what an operation answers, by relation, to the roles that may ask at all; others get 403.
type rule struct {
	roles   string // of "platform analyst admin auditor"; empty: all, without a key too
	answers [relations]int
	ask     func(w *world) (path, body string)
}

const (
	all    = "platform analyst admin auditor"
	work   = "analyst admin"
	reads  = "analyst admin auditor"
	checks = "platform analyst admin"
)

var (
	everyone = [relations]int{200, 200, 200, 200}
	readers  = [relations]int{owner: 200, member: 200, overseer: 200, stranger: 404}
	owners   = [relations]int{owner: 200, member: 403, overseer: 403, stranger: 404} // who reads it is told whose it is
	invited  = [relations]int{owner: 200, member: 200, overseer: 403, stranger: 404} // those to whom the bank is open
	created  = [relations]int{201, 201, 201, 201}
	kept     = [relations]int{owner: 200, member: 404, overseer: 200, stranger: 404} // a party's own affair, that is overseen
	own      = [relations]int{owner: 200, member: 404, overseer: 403, stranger: 404}
)

func rules() map[string]rule {
	// at asks about a thing that is made for it.
	at := func(path string, thing func(*world) string, body string) func(*world) (string, string) {
		return func(w *world) (string, string) { return fmt.Sprintf(path, thing(w)), body }
	}
	same := func(path, body string) func(*world) (string, string) {
		return func(*world) (string, string) { return path, body }
	}
	const why, signal = `{"reason":"test"}`, `{"signals":[{"algorithm":"md5","value":"%032x"}]}`
	one := fmt.Sprintf(signal, 1)
	return map[string]rule{
		"check":       {checks, everyone, same("/v1/check", one)},
		"checkBatch":  {checks, everyone, same("/v1/check/batch", one)},
		"listBanks":   {all, everyone, same("/v1/banks", "")},
		"createBank":  {"admin", created, func(w *world) (string, string) { return "/v1/banks", fmt.Sprintf(`{"name":"made-%d"}`, w.next()) }},
		"getBank":     {all, readers, at("/v1/banks/%s", (*world).aBank, "")},
		"changeBank":  {"admin", owners, at("/v1/banks/%s", (*world).newBank, `{"description":"d"}`)},
		"deleteBank":  {"admin", owners, at("/v1/banks/%s", (*world).newBank, "")},
		"restoreBank": {"admin", owners, at("/v1/banks/%s/restore", (*world).deletedBank, "")},
		"confirmBank": {"admin", owners, at("/v1/banks/%s/confirm", (*world).proposedBank, "")},
		"rejectBank":  {"admin", owners, at("/v1/banks/%s/reject", (*world).proposedBank, "")},
		"flag": {work, [relations]int{owner: 201, member: 403, overseer: 403, stranger: 404}, func(w *world) (string, string) {
			return "/v1/banks/" + w.aBank() + "/entries", fmt.Sprintf(signal, w.next())
		}},
		"flagList": {work, owners, func(w *world) (string, string) {
			return "/v1/banks/" + w.aBank() + "/entries:batch", fmt.Sprintf(signal, w.next())
		}},
		"listEntries":  {reads, everyone, same("/v1/entries", "")},
		"getEntry":     {reads, readers, at("/v1/entries/%s", (*world).anEntry, "")},
		"changeEntry":  {work, owners, at("/v1/entries/%s", (*world).newEntry, `{"note":"n"}`)},
		"retract":      {work, owners, at("/v1/entries/%s/retract", (*world).newEntry, why)},
		"restore":      {work, owners, at("/v1/entries/%s/restore", (*world).retractedEntry, why)},
		"confirmEntry": {work, owners, at("/v1/entries/%s/confirm", (*world).proposedEntry, "")},
		"rejectEntry":  {work, owners, at("/v1/entries/%s/reject", (*world).proposedEntry, why)},
		"setOverlay":   {work, invited, at("/v1/entries/%s/overlay", (*world).anEntry, `{"labels":["mine"]}`)},
		"dropOverlay":  {work, invited, at("/v1/entries/%s/overlay", (*world).anEntry, "")},
		"setOpinion":   {work, invited, at("/v1/entries/%s/opinion", (*world).anEntry, `{"stance":"agree"}`)},
		"listOpinions": {reads, readers, at("/v1/entries/%s/opinions", (*world).anEntry, "")},

		"listEntryRescanHits": {all, readers, at("/v1/entries/%s/rescan-hits", (*world).anEntry, "")},

		"listMatches":  {all, everyone, same("/v1/matches", "")},
		"getMatch":     {all, [relations]int{owner: 200, member: 404, overseer: 200, stranger: 404}, at("/v1/matches/%s", (*world).aMatch, "")},
		"decide":       {checks, [relations]int{owner: 200, member: 404, overseer: 403, stranger: 404}, at("/v1/matches/%s/decision", (*world).aMatch, `{"ruling":"removed"}`)},
		"eraseContent": {"platform admin", everyone, same("/v1/contents/erase", `{"content_id":"nothing"}`)},

		"listSubscriptions": {all, everyone, same("/v1/subscriptions", "")},
		"subscribe":         {"admin", invited, at("/v1/subscriptions/%s", (*world).aBank, `{"on":true}`)},
		"listChanges":       {all, everyone, same("/v1/changes", "")},

		"listParties": {all, everyone, same("/v1/parties", "")},
		"getParty":    {all, everyone, same("/v1/parties/owner", "")},
		"createParty": {"admin", [relations]int{owner: 403, member: 403, overseer: 201, stranger: 403}, func(w *world) (string, string) { return "/v1/parties", fmt.Sprintf(`{"name":"made-%d"}`, w.next()) }},
		"changeParty": {"admin", [relations]int{owner: 200, member: 403, overseer: 200, stranger: 403}, func(w *world) (string, string) {
			return "/v1/parties/owner", fmt.Sprintf(`{"keep_matches":%d}`, w.next())
		}},

		"listWebhooks":  {"admin auditor", everyone, same("/v1/webhooks", "")},
		"createWebhook": {"admin", created, same("/v1/webhooks", `{"url":"https://hooks.test/x","kinds":["match"]}`)},
		"getWebhook":    {"admin auditor", kept, at("/v1/webhooks/%s", (*world).aWebhook, "")},
		"changeWebhook": {"admin", own, at("/v1/webhooks/%s", (*world).aWebhook, `{"on":true}`)},
		"rotateWebhook": {"admin", own, at("/v1/webhooks/%s/rotate", (*world).aWebhook, `{}`)},
		"testWebhook":   {"admin", own, at("/v1/webhooks/%s/test", (*world).aWebhook, "")},
		"deleteWebhook": {"admin", [relations]int{owner: 204, member: 404, overseer: 204, stranger: 404}, at("/v1/webhooks/%s", (*world).spareWebhook, "")},

		"listDeadDeliveries": {"admin auditor", kept, at("/v1/webhooks/%s/dead", (*world).aWebhook, "")},
		"replayDeliveries":   {"admin", own, at("/v1/webhooks/%s/dead/replay", (*world).aWebhook, "")},
		"replayDelivery":     {"admin", [relations]int{owner: 404, member: 404, overseer: 403, stranger: 404}, at("/v1/webhooks/%s/dead/1/replay", (*world).aWebhook, "")},

		"listSources":        {all, everyone, same("/v1/sources", "")},
		"listRescans":        {all, everyone, same("/v1/rescans", "")},
		"startRescan":        {"platform admin", [relations]int{owner: 201, member: 404, overseer: 404, stranger: 404}, same("/v1/rescans", `{"source":"posts"}`)},
		"getRescan":          {all, kept, at("/v1/rescans/%s", (*world).aRescan, "")},
		"cancelRescan":       {"platform admin", own, at("/v1/rescans/%s/cancel", (*world).aRescan, "")},
		"resumeRescan":       {"platform admin", own, at("/v1/rescans/%s/resume", (*world).aRescan, "")},
		"retryRescan":        {"platform admin", [relations]int{owner: 400, member: 404, overseer: 403, stranger: 404}, at("/v1/rescans/%s/retry", (*world).aRescan, "")},
		"listRescanHits":     {all, kept, at("/v1/rescans/%s/hits", (*world).aRescan, "")},
		"listRescanFailures": {all, kept, at("/v1/rescans/%s/failures", (*world).aRescan, "")},

		"listKeys":      {"admin auditor", everyone, same("/v1/keys", "")},
		"createKey":     {"admin", created, same("/v1/keys", `{"name":"k","role":"platform"}`)},
		"revokeKey":     {"admin", [relations]int{owner: 200, member: 404, overseer: 200, stranger: 404}, at("/v1/keys/%s", (*world).newKey, "")},
		"whoami":        {all, everyone, same("/v1/whoami", "")},
		"listSignIns":   {"admin auditor", everyone, same("/v1/sign-ins", "")},
		"listNodes":     {"admin auditor", [relations]int{owner: 403, member: 403, overseer: 200, stranger: 403}, same("/v1/nodes", "")},
		"getVocabulary": {all, everyone, same("/v1/vocabulary", "")},

		"health": {"", everyone, same("/healthz", "")},
		"ready":  {"", everyone, same("/readyz", "")},
	}
}

// caller is a column of the matrix.
type caller struct {
	name   string
	key    string
	role   storage.Role
	stands relation
	nobody int // 401 or 403, whatever is asked
}

func TestRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rules := rules()
	var table bytes.Buffer
	table.WriteString("What is answered to keys of each party (platform, analyst, admin, auditor), and to who has no good key\n" +
		"(none, unknown, revoked, of a suspended party). Things asked about are the owner's; member may read the bank.\n\n")
	fmt.Fprintf(&table, "%40s%-18s%-18s%-18s%-18s%s\n", "", "| owner", "| member", "| foreign", "| operator", "| nobody")
	spec := w.http.Transport.(*validator).spec
	asked := 0
	for _, path := range slices.Sorted(maps.Keys(spec.Paths.Map())) {
		item := spec.Paths.Value(path)
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			op := item.GetOperation(method)
			if op == nil {
				continue
			}
			rule, ok := rules[op.OperationID]
			if !ok {
				t.Errorf("%s %s: who may %s? It has no rule here", method, path, op.OperationID)
				continue
			}
			delete(rules, op.OperationID)
			fmt.Fprintf(&table, "%-6s %-32s", method, path)
			for i, c := range w.column {
				if i%4 == 0 {
					table.WriteString(" |")
				}
				got := w.asks(c, method, rule)
				if want := rule.wants(c); got != want {
					t.Errorf("%s %s by %s: got %d, want %d", method, path, c.name, got, want)
				}
				fmt.Fprintf(&table, "%4d", got)
				asked++
			}
			table.WriteString("\n")
		}
	}
	for id := range rules {
		t.Errorf("%s: there is no such operation", id)
	}
	golden(t, "testdata/rights.golden", table.Bytes())
	t.Logf("%d questions asked", asked)
}

func (r rule) wants(c caller) int {
	switch {
	case r.roles == "":
		return http.StatusOK
	case c.nobody > 0:
		return c.nobody
	case !slices.Contains(strings.Fields(r.roles), string(c.role)):
		return http.StatusForbidden
	}
	return r.answers[c.stands]
}

// world is a node with parties, and things of the party "owner".
type world struct {
	*node
	who     matcher.Principal // makes the things
	things  int
	bank    string
	entry   storage.Entry
	match   string
	webhook string
	spare   string
	rescan  storage.RescanID
	column  []caller
}

func newWorld(t *testing.T) *world {
	catalogue, err := memory.New(storage.Options{})
	must(t, err)
	w := &world{node: newNode(t, setup{catalogue: catalogue})}
	for _, name := range []string{"owner", "member", "foreign", "suspended"} {
		p := w.party(name)
		if name == "owner" {
			w.who = matcher.Principal{Actor: "maker", Party: p.ID, Role: storage.Admin}
		}
	}
	w.bank = w.newBank()
	w.entry = w.flagged(w.bank)
	v, err := w.matcher.Check(t.Context(), matcher.Question{Who: w.who, Signals: w.entry.Signals})
	must(t, err)
	must(t, w.ledger.ship(t.Context()))
	w.match = v.MatchID.String()

	for _, party := range []string{"owner", "member", "foreign", "operator"} {
		for _, role := range storage.Roles() {
			c := caller{name: party + "'s " + string(role), key: w.keys[party+" "+string(role)], role: role, stands: stranger}
			switch {
			case party == "owner":
				c.stands = owner
			case party == "member":
				c.stands = member
			case party == "operator":
				c.key = w.keys[string(role)]
				if role == storage.Admin || role == storage.Auditor {
					c.stands = overseer
				}
			}
			w.column = append(w.column, c)
		}
	}
	revoked := w.key("owner", storage.Admin)
	_, err = w.matcher.RevokeKey(t.Context(), matcher.Local(), strings.Split(revoked, "_")[1])
	must(t, err)
	_, err = w.matcher.ChangeParty(t.Context(), matcher.Local(), "suspended", matcher.PartyEdit{Suspended: some(true)})
	must(t, err)
	w.column = append(w.column, caller{name: "no key", nobody: 401}, caller{name: "a bad key", key: "vg_x_y", nobody: 401},
		caller{name: "a revoked key", key: revoked, nobody: 401}, caller{name: "a suspended party", key: w.keys["suspended admin"], nobody: 403})
	return w
}

// asks is the status of an answer. That it says why it refuses is checked on the way.
func (w *world) asks(c caller, method string, r rule) int {
	path, body := r.ask(w)
	authorization := ""
	if c.key != "" {
		authorization = "Bearer " + c.key
	}
	kind := asJSON
	if strings.HasSuffix(path, "atch") {
		kind = asLines
	}
	answer := w.send(method, path, strings.NewReader(body), kind, "Authorization: "+authorization)
	if answer.StatusCode < 400 {
		return answer.StatusCode
	}
	problem := strings.TrimPrefix(problemOf(w.t, answer.Body).Type, "/problems/")
	role := slices.Contains(strings.Fields(r.roles), string(c.role))
	for _, wrong := range []bool{
		answer.StatusCode == 403 && c.nobody == 0 && role == (problem == "forbidden"),
		answer.StatusCode == 403 && c.nobody == 0 && role && problem != "foreign" && problem != "operator-only",
		answer.StatusCode == 404 && !slices.Contains([]string{"unknown-bank", "unknown-entry", "unknown-match", "unknown-key-id", "unknown-webhook", "unknown-delivery", "unknown-rescan", "unknown-source"}, problem),
	} {
		if wrong {
			w.t.Errorf("%s %s by %s: %d because of %s", method, path, c.name, answer.StatusCode, problem)
		}
	}
	return answer.StatusCode
}

func (w *world) next() int { w.things++; return w.things }

func (w *world) aBank() string   { return w.bank }
func (w *world) anEntry() string { return fmt.Sprint(w.entry.ID) }
func (w *world) aMatch() string  { return w.match }

func (w *world) made(edit matcher.BankEdit) string {
	name := fmt.Sprintf("bank-%d", w.next())
	edit.Name, edit.Members = &name, &[]string{"member"}
	_, err := w.matcher.CreateBank(w.t.Context(), w.who, matcher.NewBank{BankEdit: edit})
	must(w.t, err)
	return name
}

func (w *world) newBank() string { return w.made(matcher.BankEdit{}) }

func (w *world) deletedBank() string {
	name := w.newBank()
	_, err := w.matcher.DeleteBank(w.t.Context(), w.who, name)
	must(w.t, err)
	return name
}

func (w *world) dual() string { return w.made(matcher.BankEdit{Dual: some(true)}) }

func (w *world) proposedBank() string {
	name := w.dual()
	_, err := w.matcher.ChangeBank(w.t.Context(), w.who, name, matcher.BankEdit{Description: some("d")})
	must(w.t, err)
	return name
}

func (w *world) flagged(bank string) storage.Entry {
	signal, err := hashing.Parse(fmt.Sprintf("sha256:%064x", 1_000_000+w.next()))
	must(w.t, err)
	f, err := w.matcher.Flag(w.t.Context(), matcher.Flagging{Who: w.who, Bank: bank, Signals: []hashing.Signal{signal}})
	must(w.t, err)
	return f.Entry
}

func (w *world) newEntry() string { return fmt.Sprint(w.flagged(w.bank).ID) }

func (w *world) retractedEntry() string {
	e := w.flagged(w.bank)
	must(w.t, w.matcher.Retract(w.t.Context(), w.who, e.ID, "test"))
	return fmt.Sprint(e.ID)
}

func (w *world) proposedEntry() string { return fmt.Sprint(w.flagged(w.dual()).ID) }

func (w *world) aWebhook() string {
	if w.webhook == "" {
		w.webhook = w.newWebhook()
	}
	return w.webhook
}

// spareWebhook may be deleted; a party has few.
func (w *world) spareWebhook() string {
	id, err := strconv.ParseUint(w.spare, 10, 64)
	if err == nil {
		_, err = w.matcher.Webhook(w.t.Context(), w.who, storage.WebhookID(id))
	}
	if err != nil {
		w.spare = w.newWebhook()
	}
	return w.spare
}

func (w *world) newWebhook() string {
	h, err := w.matcher.CreateWebhook(w.t.Context(), w.who, matcher.WebhookEdit{URL: some("http://localhost/"), Kinds: &[]string{matcher.EventMatch}})
	must(w.t, err)
	return fmt.Sprint(h.ID)
}

func (w *world) aRescan() string {
	if w.rescan == 0 {
		r, err := w.rescans.Start(w.t.Context(), rescan.Request{Who: w.who, Source: "posts"})
		must(w.t, err)
		w.rescan = r.ID
	}
	return fmt.Sprint(w.rescan)
}

func (w *world) newKey() string {
	key, _, err := w.matcher.CreateKey(w.t.Context(), w.who, matcher.NewKey{Name: "k", Role: storage.Platform})
	must(w.t, err)
	return key.ID
}

// TestListsShowWhatMayBeRead looks for the owner's things in what lists answer to each caller.
func TestListsShowWhatMayBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.aRescan()
	key, err := w.matcher.Authenticate(w.keys["owner platform"])
	must(t, err)
	for _, list := range []struct {
		path, holds string
		shown       [relations]bool
	}{
		{"/v1/banks", `"name":"` + w.bank + `"`, [relations]bool{owner: true, member: true, overseer: true}},
		{"/v1/entries", fmt.Sprintf(`"value":"%s"`, w.entry.Signals[0].Hex()), [relations]bool{owner: true, member: true, overseer: true}},
		{"/v1/matches", `"id":"` + w.match + `"`, [relations]bool{owner: true, overseer: true}},
		{"/v1/subscriptions", `"bank":"` + w.bank + `"`, [relations]bool{owner: true}},
		{"/v1/subscriptions", `"bank":"owner:` + w.bank + `"`, [relations]bool{member: true}}, // what another calls it
		{"/v1/sources", `"name":"posts"`, [relations]bool{owner: true, overseer: true}},
		{"/v1/rescans", `"source":"posts"`, [relations]bool{owner: true, overseer: true}},
		{"/v1/entries", `"counters":`, [relations]bool{owner: true, overseer: true}},
		{"/v1/parties", `"suspended":true`, [relations]bool{overseer: true}},
		{"/v1/keys", `"id":"` + key.ID + `"`, [relations]bool{owner: true, overseer: true}},
	} {
		for _, c := range w.column {
			answer := w.send("GET", list.path, nil, "Authorization: Bearer "+c.key)
			if text := read(t, answer.Body); answer.StatusCode == http.StatusOK {
				equal(t, list.path+" shows "+c.name+" what is the owner's", strings.Contains(text, list.holds), list.shown[c.stands])
			}
		}
	}
}
