package transit

import (
	"time"

	"github.com/nats-io/nats.go"
)

// lane is what an intake knows of one lane: the messages that wait to be taken, and the pull that
// waits at the server.
type lane struct {
	queue []*waiting
	bytes int

	pull      uint64 // number of the last pull
	asked     int    // messages it may still bring; 0: none is out
	room      int    // octets it may still bring, as the server counts them; 0: they are not bounded
	capped    bool   // what it may still bring is less than a whole lane's share
	heard     time.Time
	notBefore time.Time
	// large says that the next message is larger than what was asked for: nothing is asked for until
	// the queue is empty, then by number alone if even a whole share was too little.
	large, huge bool
}

// waiting is a message that waits to be taken.
type waiting struct {
	*crate
	address
	key  string
	data []byte
}

// push takes what a message of the server holds.
func (l *lane) push(m *nats.Msg, parts []*waiting, now time.Time) {
	l.queue = append(l.queue, parts...)
	for _, w := range parts {
		l.bytes += len(w.data)
	}
	l.heard = now
	l.large, l.huge = false, false
	l.capped = true // of the share of this pull, a part is used
	if l.asked > 0 {
		l.asked--
	}
	if l.room > 0 {
		if l.room -= m.Size(); l.room <= 0 {
			l.asked, l.room = 0, 0 // a pull whose octets are used up to the last one ends without a word
		}
	}
}

func (l *lane) pop() *waiting {
	if len(l.queue) == 0 {
		return nil
	}
	m := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	if len(l.queue) == 0 {
		l.queue = nil
	}
	l.bytes -= len(m.data)
	return m
}

// want says what to ask for: a batch of 0 is nothing, 0 bytes is no bound.
func (l *lane) want(most, bytes int) (batch, limit int) {
	switch {
	case len(l.queue) > most/2:
		return 0, 0
	case l.huge && len(l.queue) == 0:
		return 1, 0
	case l.large && len(l.queue) > 0, l.bytes > bytes/2:
		return 0, 0
	}
	l.capped = l.bytes > 0
	return max(most-len(l.queue), 1), bytes - l.bytes
}

func (l *lane) begin(pull uint64, batch, bytes int, now time.Time) {
	l.pull, l.asked, l.room, l.heard = pull, batch, bytes, now
}

// end says that the pull is over.
func (l *lane) end(notBefore time.Time) { l.asked, l.notBefore = 0, notBefore }

// tooBig says that the next message was larger than the pull.
func (l *lane) tooBig() { l.large, l.huge = true, !l.capped }
