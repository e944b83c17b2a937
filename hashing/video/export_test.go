package video

// PruneRadius is for tests that look at other radii.
const PruneRadius = pruneRadius
