package video

// PruneRadius is for tests that look at other radii.
const PruneRadius = pruneRadius

// Program is ffmpeg's path.
func (d *Decoder) Program() string { return d.program }
