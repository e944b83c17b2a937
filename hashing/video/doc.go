// Package video turns the bytes of a video into timed PDQ signals, by the program ffmpeg in a sandbox.
//
//	d, err := video.New(video.Options{})
//	v, err := d.Video(ctx, data, hashing.VideoOptions{}, func(f hashing.Frame) error {
//		for _, s := range f.Signals { ... } // what an entry stores
//		for _, q := range f.Queries { ... } // what a check searches; video.ErrStop ends it
//		return nil
//	})
//	if m, ok := hashing.AsMediaError(err); ok { ... } // not a video that can be read; or no ffmpeg
//
// # Which frames
//
// The first frame, each keyframe, and whatever comes a second or more after the last one (checks ask for four
// frames a second: [hashing.CheckPerSecond]); of keyframes that follow within a quarter of a second the first.
// With [hashing.VideoOptions] Keyframes nothing but keyframes is decoded, where the codec tells them apart. All
// come from one decoding.
//
// A frame is hashed as a picture is (package vigie/hashing/fingerprint): gray, reduced by the power of
// two that keeps its shorter side at 512 or more; plain, without flat borders (letterboxes), and the
// picture within a frame (a telephone's screen); the queries in eight orientations. Rotation metadata and
// the aspect ratio of pixels are ignored, as vPDQ does. Frames that tell nothing are dropped: black,
// flat, blurred; but the first of several in a row is told, without signals, as the end of what was shown.
// Dropped are also frames that differ by no more than 10 bits from the one kept before: a still scene is one
// frame, however long it lasts.
//
// # Which streams
//
// What a player may show: up to four streams of pictures ([hashing.MaxStreams]), one after the other, first
// what the file calls its default. A cover picture is looked at if there is nothing else. What a file holds is
// told by ffprobe, which runs first; where it gives up, or is missing, streams are tried by number. In MP4
// files what the edit list leaves out is looked at too, since not every player leaves it out.
//
// # Times
//
// Time stamps are the file's, and may be anything. Those that rise are believed, also when they leap: a still
// may be long. A stamp that stands out alone is passed over, and where stamps go back the times go on: a stamp
// moves nothing out of sight, and times increase strictly within a stream. Frames whose stamps hardly move are
// chosen by their number.
//
// # How ffmpeg is run
//
// By package vigie/hashing/sandbox, without rights: no network, no other file, no other process;
// bounded memory, processor time and time. The video is an anonymous file that ffmpeg may seek in,
// since the index of an MP4 file may stand at its end. The command line, for an MP4 file:
//
//	ffmpeg -nostdin -hide_banner -loglevel quiet -max_alloc 268435456
//	  -protocol_whitelist file -format_whitelist mov -codec_whitelist h264,hevc,...
//	  -max_streams 100 -max_pixels 36000000 -threads 1 -f mov
//	  -ignore_editlist 1 -skip_frame default     (or nokey: keyframes alone)
//	  -noautorotate -i /dev/fd/3
//	  -map 0:0 -an -sn -dn -map_metadata -1 -filter_threads 1
//	  -vf select=...,format=gray,metadata=mode=delete,metadata=mode=add:key=v:value=1,metadata=mode=print:key=v:file='pipe\:4':direct=1
//	  -fps_mode passthrough -c:v pgm -threads 1 -f image2pipe -flush_packets 1 pipe:1
//
// The demuxer is chosen by [Sniff] from the first bytes and forced; ffmpeg never guesses. Playlists,
// manifests and scripts that name other files (HLS, DASH, concat, SDP) are therefore refused before it is
// started, and no demuxer that opens other files can run, whatever the file is called.
//
// Frames come through standard output as PGM pictures of the full range 0 to 255, each with its size, and
// their times through descriptor 4, a line each. Both are read as they come. The frames of a video
// that changes its size in the middle are scaled to 1024 x 1024 from there on, by a second run of ffmpeg: by itself it
// would scale them to the size of the first, however small.
//
// # What bounds a video
//
// Nothing that a header claims. Counted are the bytes of the file, the pixels of each frame, the time
// stamps of decoded frames, kept frames, memory, and time: [Options]. What was decoded before a
// limit or damage stands, with Cut set; a file from which not one frame comes is an error.
//
// # vPDQ
//
// A list of PDQ hashes with times is what vPDQ exchanges; [Decoder.VPDQ] hashes as its reference does,
// [ReadVPDQ], [WriteVPDQ] and [WriteVPDQJSON] speak its forms, and [MatchPercent] is its measure of how
// much of two videos is alike.
package video
