// Package sqlstore keeps the catalogue in an SQL database: [storage.Catalogue] on database/sql.
//
// The SQL text is written once, for SQLite and PostgreSQL alike ($N parameters, RETURNING, ON
// CONFLICT); what differs stands in a dialect and in one folder of migrations each: [OpenSQLite] and
// [OpenPostgres].
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
// On PostgreSQL the processes that write are many, and their transactions still run one after the other: each begins by
// locking the head of the log, and takes up no more updates after 100 ms. A connection that is lost is replaced by the next call.
// A call that lost it fails with [storage.ErrUnavailable]; it is made again only if nothing had run.
//
// Each statement of an update there is a round trip while others wait. So those of which nothing is wanted but that they work are kept, and go
// with the next one whose answer is wanted, or before the commit; rows for one table become one statement ([pipeline], [table]). An update
// of one entry has some six round trips, and one of a thousand not many more.
//
// # Copies
//
// [Copy] brings a catalogue from one database to another: whatever tables the schema has, in batches, verified. A copy that has not come to its
// end has a mark in the place of the log's identity, and is refused by every call with [ErrUnfinished].
//
// # Listings
//
// Every listing walks an index that begins with what is asked for and a bank or party, and ends with the
// number by which it is paged. What is of many banks or parties is merged from one walk in each, so that
// what others have in between is never read.
//
// # Schema
//
// A catalogue on PostgreSQL has the schema vigie of its database to itself. Every session sets what it relies on, so that
// neither the server's defaults nor the URL can weaken it: synchronous_commit, search_path, time limits. A server where they do not hold, as
// behind a pooler that pools transactions, and one that cannot be written to, is refused when a connection is made. Processes that start
// together migrate one after the other. Numbers of rows may have gaps where an update failed; those of the log have none.
//
// # Files
//
// A catalogue on SQLite is one file with two companions (-wal, -shm). The file carries an
// application id and the number of its last migration in its header, so that a file of somebody
// else, or of a later version, is refused before anything in it is changed. One process at a time may
// have it open for writing; vigie/storage/datadir sees to that.
package sqlstore
