// Package matcher is the use cases: Check, Flag, Retract, Restore, and the care of banks and keys. It
// is the only place that hashes, searches and decides; the HTTP interface and the command line
// translate to and from it.
//
// # How a check is answered
//
// [Matcher.Check] takes a file or signals. A file goes to the [Hasher], which returns its signals
// under all transforms; the index answers for all of them in one pass over one immutable snapshot;
// each bank's policy says how far a hit may be and what is recommended. Without a hit no database is
// touched; with one it is asked for the entry's labels, and a verdict goes without them if the database
// is away. The [Verdict] names the change (index_seq of log_id) that the answering index had seen.
//
// # How a flag becomes matchable
//
// [Matcher.Flag] hashes, guards against hashes that say nothing, and writes entry and change in one
// transaction. The [Follower] of every node reads the log in order and applies it to what the node
// keeps in memory: the index, the policies of banks, the keys. The answer says whether this node's
// index has the change already.
//
// # Levels
//
// A verdict's level says how sure it is, its action what policy recommends at that level:
//
//	match   an equal digest, or PDQ within the bank's radius       the bank's action
//	likely  (reserved: a farther PDQ and a second algorithm agree) at most hold
//	review  a 64-bit hash within its radius, alone                 at most review
//	none    nothing near                                           none
//
// 64-bit hashes never decide alone: at ten million entries and radius 10 chance alone gives a false
// match for every tenth upload.
package matcher
