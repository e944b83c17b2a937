package video

import "vigie/hashing/decode"

// container is a format of video files.
type container struct {
	name    string // for people and APIs
	demuxer string // ffmpeg's name
}

// demuxers are ffmpeg's names of the containers that are accepted. The name is told to ffmpeg, so that its
// own guess, which would also see playlists and scripts in what is sent, is never asked.
var demuxers = map[string]string{
	"mp4": "mov", "mov": "mov", "3gp": "mov", "webm": "matroska", "matroska": "matroska", "avi": "avi", "flv": "flv",
	"mpegts": "mpegts", "mpeg": "mpeg", "ogg": "ogg", "asf": "asf",
}

// accepted ends the message about what is not.
const accepted = "accepted are MP4, QuickTime, 3GP, WebM, Matroska, AVI, FLV, MPEG, Ogg and ASF"

// Sniff tells the container of a video by its first bytes, with the names of [decode.Kind]. It reports
// false for everything else: pictures, also those in an MP4-like file (AVIF, HEIC), texts, and whatever
// only names other files to play.
func Sniff(data []byte) (format string, ok bool) {
	c, ok := sniff(data)
	return c.name, ok
}

func sniff(data []byte) (container, bool) {
	kind := decode.Sniff(data)
	demuxer, ok := demuxers[kind.Name]
	if !ok || kind.Class != decode.Video {
		return container{}, false
	}
	if kind.Name == "mpeg" && len(data) > 3 && data[3] == 0xb3 { // a bare stream without the system layer
		demuxer = "mpegvideo"
	}
	return container{kind.Name, demuxer}, true
}
