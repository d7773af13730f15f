package ledger

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// together runs a script that takes many messages of one account for callers that bring one each: while a
// script is on its way, and for Config.Gather after it, those that come meanwhile wait and go with the next one.
// The first one waits for nobody.
type together struct {
	name string // of the script
	l    *Ledger
	head []any // arguments that all messages share

	mu    sync.Mutex
	lines map[line]*queue // those that have a script on its way
}

// line is an account at a place.
type line struct {
	slot    Slot
	account string
}

// queue is the calls that wait while a script is on its way, or was just now.
type queue struct{ calls []*call }

// call is what one message asks, and what became of it.
type call struct {
	args  []any
	turn  chan []*call // brings the batch that this call's goroutine is to send; closed when there is an answer
	reply []any
	err   error
}

const (
	// maxTogether bounds the messages of one script.
	maxTogether = 128
	// togetherTimeout bounds a script whose callers may have contexts that end at different times.
	togetherTimeout = 10 * time.Second
)

func (l *Ledger) together(name string, head ...any) *together {
	return &together{name: name, l: l, head: head, lines: map[line]*queue{}}
}

// do asks args of one message and returns the script's answer for it. Once they are on their way, the end of
// ctx is not heard any more: the answer, or none within a bounded time, comes soon.
func (t *together) do(ctx context.Context, at line, args ...any) ([]any, error) {
	if ctx.Err() != nil {
		return nil, redisError(ctx, "ledger "+t.name, ctx.Err())
	}
	c := &call{args: args, turn: make(chan []*call, 1)}
	t.mu.Lock()
	if q, ok := t.lines[at]; ok {
		q.calls = append(q.calls, c)
	} else {
		t.lines[at] = &queue{}
		c.turn <- []*call{c}
	}
	t.mu.Unlock()
	select {
	case batch := <-c.turn:
		t.lead(ctx, at, batch)
	case <-ctx.Done():
		if t.leave(at, c) {
			return nil, redisError(ctx, "ledger "+t.name, ctx.Err())
		}
		t.lead(ctx, at, <-c.turn)
	}
	return c.reply, c.err
}

// lead sends a batch, unless there is none: the answer is there then.
func (t *together) lead(ctx context.Context, at line, batch []*call) {
	if batch != nil {
		t.send(ctx, at, batch)
	}
}

// leave takes back a call that is not on its way yet.
func (t *together) leave(at line, c *call) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.lines[at]
	if q == nil {
		return false
	}
	i := slices.Index(q.calls, c)
	if i >= 0 {
		q.calls = slices.Delete(q.calls, i, i+1)
	}
	return i >= 0
}

// send runs the script for a batch, and lets the next one go when it is time.
func (t *together) send(ctx context.Context, at line, batch []*call) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), togetherTimeout)
	defer cancel()
	args := slices.Clone(t.head)
	for _, c := range batch {
		args = append(args, c.args...)
	}
	reply, err := t.l.run(ctx, t.name, append(at.slot.accountKeys(at.account), at.slot.digestsKey(at.account)), args...)
	for i, c := range batch {
		switch {
		case err != nil:
			c.err = err
		case text(reply, 0) != "OK": // of the account, so of all
			c.reply = reply
		default:
			c.reply, c.err = t.answer(reply, i, len(batch))
		}
		close(c.turn)
	}
	if t.l.cfg.Gather > 0 {
		time.AfterFunc(t.l.cfg.Gather, func() { t.next(at) })
	} else {
		t.next(at)
	}
}

// answer is that of the script for one of its messages. A number alone is an OK with it, and with what the script says of
// all at the end.
func (t *together) answer(reply []any, i, of int) ([]any, error) {
	if len(reply) > of {
		switch one := reply[1+i].(type) {
		case int64:
			return append([]any{"OK", one}, reply[1+of:]...), nil
		case []any:
			if len(one) > 0 {
				return one, nil
			}
		}
	}
	return nil, fault.Errorf(fault.Internal, "ledger "+t.name, "the script answered %d of %d messages", len(reply)-1, of)
}

// next hands those that wait to the first of them, or forgets the line.
func (t *together) next(at line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.lines[at]
	if len(q.calls) == 0 {
		delete(t.lines, at)
		return
	}
	n := min(len(q.calls), maxTogether)
	next := slices.Clone(q.calls[:n])
	q.calls = slices.Delete(q.calls, 0, n)
	next[0].turn <- next
}
