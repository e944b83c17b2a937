// Package storage is the truth: the catalogue of banks, entries and keys, the change log that is its
// spine, and the media. It declares the types, the small interfaces and the sentinels; the rooms
// implement them:
//
//   - vigie/storage/sqlstore: the catalogue on SQL (SQLite and PostgreSQL);
//   - vigie/storage/memory: the reference implementation, for tests;
//   - vigie/storage/media: blobs, in a folder or in S3;
//   - vigie/storage/bucket: what is kept in S3, media and others;
//   - vigie/storage/journal: what happens thousands of times a second, appended to a file of the node;
//   - vigie/storage/history: past uploads, by their hashes, in Parquet files;
//   - vigie/storage/jobs: work that outlives processes, on PostgreSQL by River, or on SQLite;
//   - vigie/storage/datadir: the lock that gives a data folder to one process;
//   - vigie/storage/storagetest: one conformance suite that every implementation passes.
//
// # The change log
//
// Every change of banks, entries, policy and keys appends to one ordered log in the transaction that
// makes it. Sequence numbers are dense and in commit order, so that a reader who has seen n proves
// with n+1 that it missed nothing. Each change carries the root of the Merkle tree over all changes
// up to it, and the log has an identity, so that a catalogue restored from an older copy is noticed.
// docs/format/log.md describes the records; [Sealer] writes them for every catalogue, and [VerifyLog]
// reads them all back. Everything else that Vigie knows (the indexes, the keys and policies in memory)
// is a projection of the log and can be thrown away and rebuilt.
package storage
