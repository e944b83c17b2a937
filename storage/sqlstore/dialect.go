package sqlstore

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/pressly/goose/v3"

	"vigie/storage"
)

// dialect is what differs between databases.
type dialect struct {
	migrations string // folder
	goose      goose.Dialect
	// idList turns a parameter, a JSON array of numbers, into rows of one column, id.
	idList string
	// textList turns a parameter, a JSON array of texts, into rows of one column.
	textList string
	// isSet follows a flag in a condition, so that it reads as the partial indexes on it do.
	isSet string
	// takeHead ends the query for the head of the log with which a transaction begins to write: from then on to its
	// end no other can.
	takeHead string
	// prepares: the committer keeps its statements prepared, as the driver does not. They run beside database/sql's
	// transaction, which would wait for itself if a connection were lost: not for a database that is elsewhere.
	prepares bool
	// newIDs are the queries for the next $1 numbers of rows of a table.
	newIDs map[*table]string
	// arrays: it takes arrays as parameters.
	arrays bool
	// schema are the queries for its tables.
	schema schemaQueries
	// clock is the query for the present of the database in milliseconds; empty: it is that of this process.
	clock string
	// notify is run at the end of a transaction that appended to the log; empty: nothing.
	notify string
	// view are the options of a transaction that reads one state.
	view sql.TxOptions
	// hold is how long a transaction takes up further updates, and limit how long it may last; 0: for ever.
	hold, limit time.Duration
	// turn is how long an update waits for its turn; 0: as long as its context lasts. With a bound, who has given up is not served,
	// and what has gathered while the database did not answer is gone seconds after it does again.
	turn time.Duration
	// away tells whether an error on a connection (nil: while making one) says that the database cannot be used at
	// present; nil: no error says so.
	away func(err error, conn *sql.Conn) bool
	// lost tells whether a connection is gone for good; nil: none is.
	lost func(*sql.Conn) bool
	// undecided tells whether a commit that failed with this error may have happened; nil: none has.
	undecided func(error) bool
}

// ids is the query for the numbers in a parameter that jsonList made.
func (d dialect) ids(parameter string) string { return fmt.Sprintf(d.idList, parameter) }

// explain marks an error on a connection with [storage.ErrUnavailable] if that is what it comes down to.
func (d dialect) explain(err error, conn *sql.Conn) error {
	if err == nil || d.away == nil || errors.Is(err, storage.ErrUnavailable) || !d.away(err, conn) {
		return err
	}
	return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
}

var sqliteDialect = dialect{
	migrations: "migrations/sqlite",
	goose:      goose.DialectSQLite3,
	idList:     "SELECT value AS id FROM json_each(%s)",
	textList:   "SELECT value FROM json_each(%s)",
	isSet:      " = 1",
	prepares:   true,
	schema:     sqliteSchema,
	newIDs: map[*table]string{
		entriesTable: following("SELECT MAX(id) FROM entries"), // none is ever removed
		matchesTable: following("SELECT seq FROM sqlite_sequence WHERE name = 'matches'"),
		signInsTable: following("SELECT seq FROM sqlite_sequence WHERE name = 'sign_ins'"),
	},
	view: sql.TxOptions{ReadOnly: true, Isolation: sql.LevelSerializable},
}
