package rescan

import (
	"context"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// Matcher sets Check, IsVideo and Join of options to those of a matcher, with verdicts as render writes them.
func Matcher(o *Options, m *matcher.Matcher, render func(matcher.Verdict) ([]byte, error)) {
	verdict := func(v matcher.Verdict) (Verdict, error) {
		short := Verdict{Level: v.Level.String(), Action: v.Action.String()}
		if v.Level == matcher.None {
			return short, nil
		}
		for _, m := range v.Matches {
			if m.Counts() != matcher.None {
				short.Entries = append(short.Entries, m.Entry)
			}
		}
		whole, err := render(v)
		short.Whole = whole
		return short, err
	}
	who := func(r storage.Rescan) matcher.Principal {
		return matcher.Principal{Actor: r.Key, Party: r.Party, Role: storage.Platform}
	}
	o.Check = func(ctx context.Context, r storage.Rescan, u Upload) (Verdict, error) {
		v, err := m.Check(ctx, matcher.Question{
			Who: who(r), Media: &u.Media, ContentID: u.Name, Banks: r.Options.Banks, MinSeq: r.Seq, Since: r.Options.Since, Past: true,
		})
		if err != nil {
			return Verdict{}, err
		}
		return verdict(v)
	}
	o.IsVideo = m.IsVideo
	o.Join = func(ctx context.Context, r storage.Rescan, hashes []hashing.Signal, found func(int, Verdict) error) error {
		q := matcher.HashList{Who: who(r), Banks: r.Options.Banks, MinSeq: r.Seq, Since: r.Options.Since, Upright: r.Options.Upright}
		return m.JoinHashes(ctx, q, hashes, func(i int, v matcher.Verdict) error {
			short, err := verdict(v)
			if err != nil {
				return err
			}
			return found(i, short)
		})
	}
}
