package lmtp

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
)

// What goes out in one write at most, so that nobody waits long for the answers of others.
const (
	maxRide       = 16
	maxRideOctets = 64 << 10 // bodies
	// maxAsking is how old a commit may be by the time of the write.
	maxAsking = time.Second
)

// seat is a message that waits for a connection, or is taken along by one that has it.
type seat struct {
	ctx context.Context //nolint:containedctx // of the one message: it ends its wait
	tx  *transaction

	since time.Time     // it waits
	ready chan struct{} // of one element: what follows is set
	cn    *conn         // whose turn it is; nil for a new one
	rode  bool          // it was taken along, and err says how that ended
	err   error

	cmds []command
	end  int // of its octets in the write
}

// rides says that a message may go out in one write with others. One that may be there already, because something went
// wrong, goes alone: it may do so again.
func (s *seat) rides() bool {
	return s.tx.small && len(s.tx.todo) == 1 && !s.tx.msg.Repeat && !s.tx.msg.Client.IP.IsValid()
}

// ends settles the fate of a message.
func (s *seat) ends(err error) {
	s.err = err
	if s.ready != nil {
		s.rode = true
		s.ready <- struct{}{}
	}
}

// ride sends messages in one write, and reads the answers to each in order. The last one is that of the caller: nobody waits
// for an answer to another's behind their own. It returns those that were not asked in time whether they may be sent.
//
// Between two transactions stands RSET: after a refusal the state of a session is not known (RFC 3030 §2). It is the mark
// by which the answers are known to be in step, too. Where they are not, the fate of the rest is not known.
func (cn *conn) ride(seats []*seat) (left []*seat) {
	if seats, left = cn.asked(seats); len(seats) == 0 {
		cn.broken = false
		return left
	}
	out := cn.out
	cn.out = cn.wide[:0]
	for n, s := range seats {
		cn.load(s, n > 0)
	}
	cn.out, cn.wide = out, cn.out
	cn.dirty = true
	start := time.Now()
	written, err := cn.writeWide()
	whole := 0
	for whole < len(seats) && seats[whole].end <= written {
		whole++
	}
	cn.hearAll(seats[:whole])
	if whole < len(seats) {
		cn.broken = true
		cn.unsent(seats[whole:], err)
	}
	cn.took, cn.rode = time.Since(start), len(seats)
	return left
}

// asked returns those whose callers let them go. Where one of them takes its time to say so, the others are asked later: an
// older word does not count. The last one is never left.
func (cn *conn) asked(seats []*seat) (ready, left []*seat) {
	start := time.Now()
	ready = seats[:0:0]
	for n, s := range seats {
		if n < len(seats)-1 && n > 0 && time.Since(start) > maxAsking {
			left = append(left, s)
			continue
		}
		if s.tx.downgrade(cn); len(s.tx.todo) == 0 {
			s.ends(nil)
			continue
		}
		var err error
		if s.ctx.Err() != nil {
			err = fault.Wrap(fault.Canceled, cn.op("bdat"), context.Cause(s.ctx))
		} else if s.tx.commit != nil {
			if err = s.tx.commit(s.ctx); err != nil {
				err = s.tx.ours("commit", cn, err)
			}
		}
		if err != nil {
			s.ends(err)
			continue
		}
		ready = append(ready, s)
	}
	if n := len(ready) - 1; n > 0 && time.Since(start) > maxAsking {
		ready, left = ready[n:], append(ready[:n:n], left...)
	}
	return ready, left
}

// load adds a transaction to what is written.
func (cn *conn) load(s *seat, behind bool) {
	tx := s.tx
	tx.sending = true
	cn.text = canonical(cn.text[:0], tx.msg.Trace, tx.body, cn.octets())
	cn.out = slices.Grow(cn.out, len(cn.text)+4*maxAddress)
	s.cmds = tx.commands(cn)
	if !cn.octets() {
		s.cmds = s.cmds[:len(s.cmds)-1] // but DATA
	}
	if behind && s.cmds[0].verb != "RSET" {
		s.cmds = append([]command{{verb: "RSET"}}, s.cmds...)
	}
	for _, c := range s.cmds {
		_ = c.write(cn, tx)
	}
	cn.out = strconv.AppendInt(append(cn.out, "BDAT "...), int64(len(cn.text)), 10)
	cn.out = append(append(cn.out, " LAST\r\n"...), cn.text...)
	s.end = len(cn.out)
}

// writeWide writes what is there of all messages, and says how many octets were taken.
func (cn *conn) writeWide() (int, error) {
	if err := cn.SetWriteDeadline(time.Now().Add(cn.limits.Write)); err != nil {
		return 0, err
	}
	return cn.Write(cn.wide)
}

// unsent ends messages of which the server did not take the last octets, as err says. It may have said why.
func (cn *conn) unsent(seats []*seat, err error) {
	why := seats[0].tx.unsent(seats[0].ctx, cn, err)
	for _, s := range seats {
		s.tx.sending = false // no server takes a chunk that breaks off
		s.ends(why)
	}
}

// What ends the hearing of answers.
var (
	errStep = errors.New("the answers of the destination are out of step")
	errLeft = errors.New("the destination left before it came to the message")
)

// hearAll reads the answers to messages that were sent as a whole.
func (cn *conn) hearAll(seats []*seat) {
	cn.broken = false
	for n, s := range seats {
		outcome, lost := cn.hear(s, n > 0, n == len(seats)-1)
		s.ends(outcome)
		if lost != nil {
			cn.broken = true
			cn.strand(seats[n+1:], lost)
			return
		}
	}
}

// hear reads the answers to one message, and says what became of it. Once the connection is lost nothing more can be heard.
func (cn *conn) hear(s *seat, behind, last bool) (outcome, lost error) {
	tx := s.tx
	for n, c := range s.cmds {
		r, err := cn.answer(cn.limits.Command, nil)
		switch {
		case err != nil && tx.refused:
			return outcome, err
		case err != nil:
			return cn.uncertain("bdat", err), err
		case r.code/100 == 3, behind && n == 0 && !r.ok() && !leaves(r.code):
			return cn.uncertain("bdat", errStep), errStep
		}
		if err := tx.note(cn, c, r); err != nil {
			outcome, tx.refused = err, true
		}
		switch {
		case leaves(r.code):
			return outcome, errLeft
		case last && outcome != nil:
			cn.broken = true
			return outcome, nil
		}
	}
	if tx.refused || len(tx.taken) == 0 {
		return outcome, cn.hearRefusal(last)
	}
	broken := cn.broken
	outcome = tx.finishBDAT(cn)
	var unsure *local.UncertainError
	switch {
	case errors.As(outcome, &unsure):
		return outcome, unsure.Err
	case outcome == nil && cn.broken: // 421
		return nil, errLeft
	}
	cn.broken = cn.broken || broken
	return outcome, nil
}

// hearRefusal reads the answer to a chunk that is refused with its recipient. Behind the last message it is not relied on.
func (cn *conn) hearRefusal(last bool) (lost error) {
	if last {
		cn.broken = true
		return nil
	}
	if cn.mute {
		return nil
	}
	r, err := cn.answer(cn.limits.Command, nil)
	switch {
	case err != nil:
		return err
	case leaves(r.code):
		return errLeft
	case r.code/100 != 4 && r.code/100 != 5:
		return errStep
	}
	return nil
}

// strand ends messages whose answers are not heard. Only where the server left in order has it surely taken none of them.
func (cn *conn) strand(seats []*seat, lost error) {
	if errors.Is(lost, errStep) {
		cn.coy()
	}
	if len(seats) == 0 {
		return
	}
	err := cn.uncertain("bdat", lost)
	err.Shared = true
	left := errors.Is(lost, errLeft) && cn.ended()
	for _, s := range seats {
		if left {
			s.tx.sending = false
			s.ends(fault.New(fault.DestinationTemporary, cn.op("bdat"), errLeft))
			continue
		}
		s.ends(err)
	}
}

// ended says that the server has closed the connection and said nothing more.
func (cn *conn) ended() bool {
	_, err := cn.answer(min(cn.limits.Command, time.Second), nil)
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrClosedPipe)
}

// uncertain is the error for an answer that did not come.
func (cn *conn) uncertain(step string, err error) *local.UncertainError {
	if errors.Is(err, io.EOF) {
		err = errHungUp
	}
	return &local.UncertainError{Err: fault.New(fault.DestinationTemporary, cn.op(step), err)}
}
