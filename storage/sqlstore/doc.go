// Package sqlstore keeps the catalogue in an SQL database: [storage.Catalogue] on database/sql.
//
// The SQL text is written once, for SQLite and PostgreSQL alike ($N parameters, RETURNING, ON
// CONFLICT); what differs stands in a dialect and in one folder of migrations each. SQLite is what
// there is today: [OpenSQLite].
//
// # Reading and writing
//
// Reads run on a pool of connections that cannot write, each [Store.View] in one transaction. Updates
// queue for one goroutine that owns the only writing connection. It takes all updates that wait,
// runs them one after the other, each inside a savepoint, in one transaction, and commits once: under
// load many updates share one flush to the disk, and a lone update waits for nobody. An update that
// fails rolls back to its savepoint and takes nobody with it; if the commit fails, all of them fail. A
// lone update needs no savepoint: if it fails, so does the transaction.
//
// # Listings
//
// Every listing walks an index that begins with what is asked for and a bank or party, and ends with the
// number by which it is paged. What is of many banks or parties is merged from one walk in each, so that
// what others have in between is never read.
//
// # Files
//
// A catalogue on SQLite is one file with two companions (-wal, -shm). The file carries an
// application id and the number of its last migration in its header, so that a file of somebody
// else, or of a later version, is refused before anything in it is changed. One process at a time may
// have it open for writing; vigie/storage/datadir sees to that.
package sqlstore
