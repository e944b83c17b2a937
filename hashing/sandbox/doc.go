// Package sandbox hashes pictures in child processes without rights, because hostile media is the
// normal case: a crafted file may hang a decoder, crash it, or make it ask for all memory, and a Go
// program cannot recover from running out of memory. Here such a file costs one request.
//
//	pool, err := sandbox.New(sandbox.Options{})
//	defer pool.Close()
//	picture, err := pool.Picture(ctx, data) // err may be a *hashing.MediaError
//
// The children are processes of the same binary. Its hidden command "decode-child" is
//
//	o, err := sandbox.ChildOptionsFrom(os.Getenv)
//	return sandbox.Child(os.Stdin, os.Stdout, fingerprint.New(o.Limits).Picture, decode.Cost, o)
//
// and its hidden command "program-child" ([ProgramCommand]) calls [ProgramChild].
//
// # A request
//
// A [Pool] has a fixed number of slots; a request waits for one, starts a child if the slot has
// none, and hands over the bytes. Parent and child speak frames over the child's standard input and
// output: four bytes of length, big-endian, then the content. The child begins with a hello (JSON),
// then answers each picture (raw bytes) with some kilobytes in a binary form, which wire.go describes. A child
// lives for many pictures and is then recycled. At the deadline, or when the request is cancelled, the parent kills it.
//
// A picture that by its header takes much memory waits for its share of [Options.Budget], which all
// children have in common: the child says what it needs, and decodes when the parent grants it. The
// deadline begins with the grant. What the header tells is an estimate; the limit of the child is what holds.
//
// AVIF is decoded by WebAssembly, whose compiler makes machine code. Its children compile at their
// start, before they give up their rights, and then stand behind the same walls as the others, with
// more memory. Since that takes seconds, they are few, start when an AVIF comes, and end when none
// comes for a minute.
//
// HEIC is converted by the program heif-convert, if there is one, to a JPEG that a child then decodes: one for each
// picture in it, since which of them viewers show is not told.
//
// The parent does not trust the answer: its size is bounded, it is decoded strictly, and every
// value is checked. A child whose answer does not hold is killed. What a child writes to standard
// error is searched for Go's "out of memory" on its way through, and never kept or logged.
//
// # What a child may do
//
// Before it reads the first byte of input it gives up its rights for good:
//
//   - rlimits: RLIMIT_DATA is the memory limit (Go's heap counts as data; RLIMIT_AS does not fit,
//     since the runtime reserves address space that it never uses); no new descriptor, so no file
//     and no socket; no byte written to a file; no core dump;
//   - no_new_privs, and not dumpable, so that another process of the same user cannot trace it;
//   - Landlock, as much as the kernel has: no path, no TCP, no abstract socket, no signal outwards;
//   - a seccomp filter that lists what the Go runtime needs to compute, to talk over open pipes and
//     to end; everything else, exec, open, socket, ptrace and kill among it, fails with EPERM, and so
//     do new processes and new executable memory, and shared memory, which would not count as data.
//
// Its environment holds its options and nothing else. The rlimits must hold, or the child refuses
// to work; Landlock and seccomp depend on the kernel. The hello says which of them hold; see
// [Protections]. On other systems than Linux only the separation of processes, the deadline and a
// soft memory limit remain.
//
// The memory limit is enforced from outside as well: the parent sets it on the child with prlimit(2)
// before it sends anything, so that a mistake in the child's own start-up cannot lift it.
//
// # External programs
//
// [Start] runs a program such as ffmpeg on one media. A child of this binary puts up the walls and then
// becomes the program: no_new_privs; no capabilities; rlimits on data, processor time, files and
// descriptors; Landlock with nothing but the program, its loader and the system's libraries to read, and
// its own empty folder to make files in, if it has one; and a filter of system calls without sockets,
// processes, ptrace, mounts, keys, bpf, io_uring and the like. Only the program itself and its loader
// can be executed. It reads the media from an anonymous sealed file. It leads a process group that is
// killed when its time is up, and its output is read through pipes. What it writes to standard error
// serves to tell faults apart and is not logged.
//
// # What it does not do
//
// A child that a picture takes over entirely can compute, and can lie about the pictures it is given
// until it is recycled; it cannot reach anything else. Recycle: 1 gives every picture a fresh
// process, at the cost of a process start.
//
// # Whose turn it is
//
// Children have a lower priority than the node: decoding takes all the processors that it gets, and a check of hashes,
// which takes microseconds, must not queue behind it.
//
// # When the parent dies
//
// An idle child sees the end of its input and ends. A busy one is killed by the kernel (Linux:
// PR_SET_PDEATHSIG). That signal is tied to the thread that started the child, and Go ends threads
// as it likes; therefore one goroutine, locked to its thread for the life of the pool, starts all
// children.
package sandbox
