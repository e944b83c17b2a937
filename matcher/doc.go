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
//	match   an equal digest, or PDQ within the bank's radius        the bank's action
//	likely  a farther PDQ, in the band, and a second vote agrees;   at most hold
//	        or one stray frame of a video
//	review  in the band without that; far in it, with an agreeing   at most review
//	        vote; or a 64-bit hash alone
//	none    nothing near                                            none
//
// 64-bit hashes never decide alone: at ten million entries and radius 10 chance alone gives a false
// match for every tenth upload.
//
// # The second vote
//
// The band lies between the bank's PDQ radius and the radius of its second vote. It is searched for the
// plain, the trimmed and the framed picture in all orientations; negatives, flattened and sampled
// renderings and frames of a video stay at the radius. On a hit there the pHash and dHash of the same
// rendering, turned the same way, are compared with those that the entry has of the variant that was
// hit: if one of them agrees, the hit is likely. An entry that came as a bare PDQ has none, and is for
// review. From the radius of the second vote to its Far, where chance alone would bring up too much to
// look at, a hit is for review if a vote agrees, and else it is nothing. Votes cost something only on a hit in the band: then 64-bit hashes are computed, once for
// each rendering and transform, from thumbnails of the one decode; the entry's come from the index.
//
// Graphics, be it text or flat drawings, have hashes that crowd together. A rendering that is one, be it of the
// picture or of a part of it, matches within a tighter radius; between it and the bank's it needs the votes of pHash and dHash both to be likely; the band
// is not searched for it.
//
// All thresholds are the bank's ([storage.SecondVote], [DefaultPolicy]); [Evidence.Vote] tells how a
// vote came out. Signals that were sent without their picture are searched in the band only if
// [Question.Band] says so; a pHash or dHash sent along votes for the picture as it is.
//
// # Videos
//
// A video goes to [Videos], which hands out frames while it decodes; they are searched some at a time, all in
// the state that was newest when the first of them were. A list of signals of which some have a time is a
// video that somebody else has hashed. An entry stores the frames that its bank's policy admits, each
// signal with its time; it has no 64-bit hashes, and there is no second vote on it.
//
// What was seen makes a timeline for each entry ([Align]): which span of the upload shows which span of
// the known media, the share of each that is covered, and vPDQ's percentages. The same goes for a picture
// that is one frame of a known video, and a video that shows a known picture.
//
// One frame in common does not make two videos the same: titles, logos and test cards are shown by
// thousands. So a hit on an entry of several frames is a match if two frames of the upload match two of
// the entry, each pair a second apart or more, or if a tenth of the entry's time matches; else it is
// likely.
package matcher
