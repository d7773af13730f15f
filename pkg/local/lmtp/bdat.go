package lmtp

import (
	"context"
	"strconv"
	"time"

	"github.com/mailferry/mailferry/pkg/local"
)

const (
	// smallMessage is the largest body, in octets, that goes out in one write with its commands.
	smallMessage = 32 << 10
	// freshFor is how long after its last use a kept connection is surely not given up by the server. On an older one
	// nothing of a message is sent before the server has answered: a server that is gone must not leave a doubt.
	freshFor = time.Second
	// shyFor is how long nothing is sent at once to a server that has trouble with it.
	shyFor = time.Hour
)

// atOnce says that commands and message may go out in one write (BDAT, RFC 3030), all answers being awaited together: the
// server offers it, one recipient is left, and the message is small. The server has to swallow the octets of a chunk that
// it refuses, or it would take those of a message whose recipient it refuses for commands: see swallows.
func (tx *transaction) atOnce(cn *conn) bool {
	return tx.small && len(tx.todo) == 1 && cn.ext.chunking && cn.ext.pipelining && cn.fresh() && !cn.wary()
}

// wary says that nothing goes out at once.
func (cn *conn) wary() bool {
	return cn.shy || cn.server.noBDAT.Load() || time.Now().UnixNano() < cn.server.shyUntil.Load()
}

// fresh says that the server has surely not given the connection up.
func (cn *conn) fresh() bool { return !cn.kept || time.Since(cn.usedAt) < freshFor }

// noCommand is what a server answers with two errors if it takes it for commands.
const noCommand = "X-NOT-A-COMMAND\r\nX-NOT-A-COMMAND\r\n"

// swallows finds out, once on a connection, whether the server reads on behind the octets of a chunk that it refuses, as it
// must (RFC 3030 §2): it is sent one out of place, and is greeted again, which it answers as nothing else (RFC 5321 §4.1.4).
// Some do not, and would obey what somebody has put into a message.
func (cn *conn) swallows(ctx context.Context) error {
	if cn.tried {
		return nil
	}
	cn.tried, cn.shy = true, true
	const step = "bdat"
	err := cn.command("BDAT ", strconv.Itoa(len(noCommand)), " LAST")
	if err == nil {
		err = cn.emit([]byte(noCommand))
	}
	if err == nil {
		err = cn.command(cn.verb(), " ", cn.name)
	}
	if err == nil {
		err = cn.flush()
	}
	for refusals := 0; err == nil; refusals++ {
		var again extensions
		var r reply
		if r, err = cn.answer(cn.limits.Command, again.add); err != nil {
			break
		}
		switch {
		case r.ok() && again.chunking: // the answer to the greeting
			cn.shy, cn.mute, cn.dirty = refusals > 1, refusals == 0, false
			return nil
		case r.code/100 != 4 && r.code/100 != 5 || leaves(r.code) || refusals > 2:
			err = cn.unwilling(step, r)
		}
	}
	if ctx.Err() == nil {
		cn.coy()
	}
	return cn.failure(ctx, step, err)
}

func (cn *conn) verb() string {
	if cn.proto == SMTP {
		return "EHLO"
	}
	return "LHLO"
}

// finishBDAT is finish where the answer may be about the command: a server that offers BDAT and has none is not asked again.
func (tx *transaction) finishBDAT(cn *conn) error {
	to := tx.taken[0]
	if err := tx.finish(cn); err != nil {
		return err
	}
	r := tx.replies[to]
	cn.dirty = !r.Accepted() // the state of the session is not known (RFC 3030 §2)
	if noBDAT(r.Code) {
		tx.replies[to] = local.Reply{}
		cn.broken = true
		cn.server.noBDAT.Store(true)
		return cn.unwilling("bdat", reply{code: r.Code, text: []byte(r.Text)})
	}
	return nil
}

// noBDAT says that a code refuses the command, not the message.
func noBDAT(code int) bool { return code != 421 && (code == 500 || code == 504 || aboutUs(code)) }

// canonical appends trace and body to text, as canonical lines unless the octets are taken as they are.
func canonical(text, trace, body []byte, octets bool) []byte {
	if octets {
		return append(append(text, trace...), body...)
	}
	w := canon{raw: true, emit: func(p []byte) error {
		text = append(text, p...)
		return nil
	}}
	_, _ = w.Write(trace)
	_, _ = w.Write(body)
	_ = w.end()
	return text
}
