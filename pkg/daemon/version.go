package daemon

import "runtime/debug"

// Build says what this binary was built from.
type Build struct {
	// Version is the release, or "devel".
	Version string
	// Revision is the commit, with "+changes" if the tree was not clean; empty if unknown.
	Revision string
	// Go is the toolchain.
	Go string
}

// BuildOf returns the build of this binary. A version given at link time wins over what the toolchain
// recorded.
func BuildOf(linked string) Build {
	b := Build{Version: linked}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go = info.GoVersion
	var changes bool
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			changes = s.Value == "true"
		}
	}
	if changes {
		b.Revision += "+changes"
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	return b
}

// String returns the build on one line.
func (b Build) String() string {
	s := "mailferry " + b.Version
	if b.Revision != "" {
		s += " (" + b.Revision + ")"
	}
	return s + ", " + b.Go
}
