package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// stamped is a small message that says when it was made, and a word of the test.
func stamped(word string) []byte {
	return fmt.Appendf(nil, "From: a@example.org\r\nX-Stamp: %020d %s\r\nSubject: stamped\r\n\r\nhello\r\n", time.Now().UnixNano(), word)
}

// tally is an LMTP server that counts each message by the key in its trace, tells how long stamped ones took, and keeps nothing.
type tally struct {
	l net.Listener

	mu       sync.Mutex
	shut     bool
	attempts int // to connect, while it was shut
	got      map[string]int
	took     map[string][]time.Duration // by the word of the stamp
}

func newTally(t testing.TB) *tally {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	y := &tally{l: l, got: map[string]int{}, took: map[string][]time.Duration{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			y.mu.Lock()
			shut := y.shut
			if shut {
				y.attempts++
			}
			y.mu.Unlock()
			if shut {
				_ = c.Close()
				continue
			}
			go y.serve(c)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return y
}

func (y *tally) destination() string { return "lmtp:" + y.l.Addr().String() }

// close has everybody who connects hung up on, until it is opened.
func (y *tally) close() { y.shutTo(true) }
func (y *tally) open()  { y.shutTo(false) }

func (y *tally) shutTo(shut bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.shut = shut
}

// tried says how often somebody connected while it was shut.
func (y *tally) tried() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.attempts
}

// counts says how many messages came, and how many of them more than once.
func (y *tally) counts() (messages, repeated int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, n := range y.got {
		if n > 1 {
			repeated++
		}
	}
	return len(y.got), repeated
}

// times are how long the messages of each word took that came since the last call.
func (y *tally) times() map[string][]time.Duration {
	y.mu.Lock()
	defer y.mu.Unlock()
	took := y.took
	y.took = map[string][]time.Duration{}
	return took
}

func (y *tally) note(key, word string, took time.Duration) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.got[key]++
	y.took[word] = append(y.took[word], took)
}

// serve takes what comes by DATA; chunks are not offered.
func (y *tally) serve(c net.Conn) {
	defer c.Close()
	r, w := bufio.NewReaderSize(c, 16<<10), bufio.NewWriter(c)
	say := func(s string) { _, _ = w.WriteString(s + "\r\n") }
	say("220 tally")
	var key, word string
	var sent int64
	for data := false; ; {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		verb, rest, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		switch {
		case data && string(line) == ".\r\n":
			data = false
			y.note(key, word, time.Since(time.Unix(0, sent)))
			say("250 taken")
		case data && string(verb) == "X-Mailferry:":
			key = string(rest)
		case data && string(verb) == "X-Stamp:":
			stamp, w, _ := bytes.Cut(rest, []byte(" "))
			sent, _ = strconv.ParseInt(string(stamp), 10, 64)
			word = string(w)
		case data:
		case string(verb) == "LHLO":
			say("250-tally\r\n250-8BITMIME\r\n250 PIPELINING")
		case string(verb) == "DATA":
			data = true
			say("354 go")
		default:
			say("250 ok")
		}
	}
}

// quantile of some times, in milliseconds.
func quantile(d []time.Duration, percent int) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return float64(d[(len(d)-1)*percent/100]) / float64(time.Millisecond)
}
