package memory

import (
	"cmp"
	"maps"
	"slices"

	"vigie/storage"
)

func (r *reader) Nodes() (all []storage.NodeReport, err error) {
	for _, id := range slices.Sorted(maps.Keys(r.nodes)) {
		all = append(all, r.nodes[id].Normal())
	}
	return all, nil
}

func (w *writer) ReportNode(n storage.NodeReport) error {
	if err := cmp.Or(n.CheckText(), n.Check()); err != nil {
		return err
	}
	w.nodes[n.ID] = n.Normal()
	return nil
}

func (w *writer) ForgetNode(id string) error {
	if _, there := w.nodes[id]; !there {
		return missing("node", id)
	}
	delete(w.nodes, id)
	return nil
}
