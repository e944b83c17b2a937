package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	v1 "vigie/api/v1"
)

type nodesCmd struct {
	Verify bool `help:"Read all entries of the catalogue, too, and compare what the nodes hold with them; takes seconds to minutes."`
}

// Run lists the nodes of the catalogue. It fails if two of them contradict each other, or if, with Verify, not all of them have
// been found to hold what the catalogue does.
func (c *nodesCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	out, err := ask[v1.Nodes](node.ListNodes(ctx, &v1.ListNodesParams{Verify: &c.Verify}))
	if err != nil {
		return err
	}
	if a.json {
		err = a.object(out)
	} else {
		err = list(a.printer, out.Nodes, []string{"NODE", "NAME", "STATE", "SEQ", "LAG", "STALE", "BACKLOG", "DIGEST", "SAME", "VERSION"}, func(n v1.Node) []string {
			return []string{
				n.Id, n.Name, nodeState(n), fmt.Sprint(n.Seq), fmt.Sprint(n.Lag), (time.Duration(n.StalenessMs) * time.Millisecond).String(),
				fmt.Sprint(n.Backlog), shortDigest(value(n.Digest)), nodeSame(n), n.Version,
			}
		})
	}
	if err != nil {
		return err
	}
	wrong := false
	for _, n := range out.Nodes {
		if len(n.Contradicts) > 0 {
			wrong = true
			fmt.Fprintf(a.err, "NODE %s CONTRADICTS %s: as of the same change they hold different entries; vigie nodes --verify says which is wrong\n",
				n.Id, strings.Join(n.Contradicts, ", "))
		}
	}
	if v := out.Verified; v != nil {
		if len(v.Differ) > 0 {
			wrong = true
			fmt.Fprintf(a.err, "NOT WHAT THE CATALOGUE HOLDS, as of change %d: %s. Stop it, remove the folder index in its data folder, and start it again\n",
				v.Seq, strings.Join(v.Differ, ", "))
		}
		if len(v.Unknown) > 0 {
			wrong = true
			fmt.Fprintf(a.err, "NOT VERIFIED: %s told of nothing as of change %d: not ready, silent, or too fast to be met at one change; ask again\n",
				strings.Join(v.Unknown, ", "), v.Seq)
		}
		if len(v.Agree)+len(v.Differ)+len(v.Unknown) == 0 {
			wrong = true
			fmt.Fprintln(a.err, "NOT VERIFIED: no node is at work, so that nothing was compared")
		}
		if !a.json {
			a.say("catalogue %s as of change %d: the same on %d nodes, another on %d, not told by %d",
				shortDigest(v.Digest), v.Seq, len(v.Agree), len(v.Differ), len(v.Unknown))
		}
	}
	if wrong {
		return errSomeFailed
	}
	return nil
}

func nodeState(n v1.Node) string {
	switch {
	case n.State == "live" && value(n.OtherLog):
		return "other log"
	case n.State == "live" && n.Ready:
		return "ready"
	case n.State == "live":
		return "not ready"
	}
	return string(n.State)
}

// nodeSame says with how many other nodes one agrees.
func nodeSame(n v1.Node) string {
	switch {
	case len(n.Contradicts) > 0:
		return "CONTRADICTS " + strings.Join(n.Contradicts, ",")
	case len(n.Agrees)+len(n.Uncompared) == 0:
		return "-"
	}
	return fmt.Sprintf("%d of %d", len(n.Agrees), len(n.Agrees)+len(n.Uncompared))
}

func shortDigest(text string) string { return text[:min(len(text), 12)] }
