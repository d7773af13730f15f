//go:build killpoints

// Package killpoint names the instants between two steps of the order of a run, so that tests can
// kill or stop a process exactly there. This is the form with the build tag "killpoints":
// MAILFERRY_KILL_AT=name[:n] kills the process the n-th time (from 1) it reaches the name,
// MAILFERRY_STOP_AT=name[:n] stops it there until SIGCONT.
package killpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var kill, stop = parse("MAILFERRY_KILL_AT"), parse("MAILFERRY_STOP_AT")

type point struct {
	name string
	left atomic.Int64
}

func parse(env string) *point {
	name, n, found := strings.Cut(os.Getenv(env), ":")
	p := &point{name: name}
	p.left.Store(1)
	if v, err := strconv.ParseInt(n, 10, 64); found && err == nil {
		p.left.Store(v)
	}
	return p
}

func (p *point) hit(name string) bool { return p.name == name && p.left.Add(-1) == 0 }

// Reach marks that the process is at the named instant.
func Reach(name string) {
	if kill.hit(name) {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {}
	}
	if stop.hit(name) {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP)
	}
}
