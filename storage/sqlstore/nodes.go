package sqlstore

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"

	"vigie/storage"
)

func (r *reader) Nodes() ([]storage.NodeReport, error) {
	all, err := list(r.ctx, r.db, func(row scanner) (n storage.NodeReport, err error) {
		err = row.Scan(jsonColumn{&n})
		return n, err
	}, "SELECT report FROM nodes ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("reports of nodes: %w", err)
	}
	return all, nil
}

func (w *writer) ReportNode(n storage.NodeReport) error {
	if err := cmp.Or(n.CheckText(), n.Check()); err != nil {
		return err
	}
	report, err := json.Marshal(n.Normal())
	if err != nil {
		return err
	}
	return wrap(w.exec(`
		INSERT INTO nodes (id, report) VALUES ($1, $2)
		ON CONFLICT (id) DO UPDATE SET report = excluded.report`, n.ID, string(report)), "report of node", n.ID)
}

func (w *writer) ForgetNode(id string) error {
	if !storage.IsText(id) {
		return wrap(sql.ErrNoRows, "node", strconv.Quote(id))
	}
	return changed(w.db.ExecContext(w.ctx, "DELETE FROM nodes WHERE id = $1", id))("node", id)
}
