package main

import (
	"os"

	"golang.org/x/term"
)

// terminal is where a command writes.
type terminal struct {
	out, err *os.File
	// outTTY and errTTY say that a person reads there.
	outTTY, errTTY bool
}

func newTerminal(out, err *os.File) *terminal {
	return &terminal{out: out, err: err, outTTY: term.IsTerminal(int(out.Fd())), errTTY: term.IsTerminal(int(err.Fd()))}
}
