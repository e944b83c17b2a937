// Package buildinfo knows which version of Vigie this is.
package buildinfo

import "runtime/debug"

// version is stamped by the Makefile: -ldflags "-X vigie/internal/buildinfo.version=...".
var version string

// Version is the stamped version; without a stamp, what the Go toolchain noted of the commit, or "devel".
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
