//go:build killpoints

// Package killpoint names the instants between two steps of the order of a run, so that tests can
// kill or stop a process exactly there. This is the form with the build tag "killpoints":
// MAILFERRY_KILL_AT=name[:n] kills the process the n-th time (from 1) it reaches the name,
// MAILFERRY_STOP_AT=name[:n] stops it there until SIGCONT.
package killpoint

import (
	"os"
	"os/signal"
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
		// Another thread may be the one that takes the signal, while this one runs on for a while: it must not
		// leave the instant before the process goes on.
		goOn := make(chan os.Signal, 1)
		signal.Notify(goOn, syscall.SIGCONT)
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP)
		<-goOn
		signal.Stop(goOn)
	}
}
