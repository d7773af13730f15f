package lmtp

import (
	"bytes"
	"context"
	"strconv"
	"strings"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
)

// window is how many commands are sent before their answers are read: so few that the answers fit into
// the buffers of any connection while nobody reads them (RFC 2920 §3.1).
const window = 100

// maxAddress bounds an address in octets (RFC 5321 §4.5.3.1.3 asks for 256).
const maxAddress = 320

// transaction is one message on its way.
type transaction struct {
	env     local.Envelope
	msg     local.Message
	commit  func(context.Context) error
	replies []local.Reply // of env.To; Code 0: no answer yet
	todo    []int         // recipients to be named, as indices of env.To
	taken   []int         // recipients the server accepted, in the order named
	refused bool          // by the answer to MAIL or DATA
	data    bool          // the server waits for the message
	sending bool          // of the message something may have been taken or read
	small   bool          // body is all of it
	body    []byte

	blameless bool // the server has no part in the error
}

func newTransaction(env local.Envelope, msg local.Message, commit func(context.Context) error, small *small) *transaction {
	tx := &transaction{env: env, msg: msg, commit: commit, replies: make([]local.Reply, len(env.To)), small: small.whole, body: small.raw}
	if tx.small {
		tx.msg.Body = bytes.NewReader(small.raw)
	}
	for i, to := range env.To {
		if to == "" || !validPath(to) {
			tx.replies[i] = local.Reply{Recipient: to, Code: 553, Text: "5.1.3 the address cannot stand in a command"}
			continue
		}
		tx.todo = append(tx.todo, i)
	}
	return tx
}

// answers returns the replies that there are, in the order of the recipients.
func (tx *transaction) answers() []local.Reply {
	out := make([]local.Reply, 0, len(tx.replies))
	for _, r := range tx.replies {
		if r.Code != 0 {
			out = append(out, r)
		}
	}
	return out
}

// run speaks the transaction on cn, and marks cn as broken where it cannot be used again. Where the message goes out at
// once, ride sends it.
func (tx *transaction) run(ctx context.Context, cn *conn, ride func() error) error {
	cn.broken = true
	if cn.tried && cn.client == cn.attributes(tx.msg.Client) {
		if tx.downgrade(cn); tx.atOnce(cn) {
			return ride() // nothing before the write takes time: no need to watch ctx
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = cn.raw.Close() })
	defer stop()
	if err := cn.introduce(ctx, tx.msg.Client); err != nil {
		return err
	}
	if tx.downgrade(cn); tx.atOnce(cn) {
		if err := cn.swallows(ctx); err != nil {
			return err
		}
	}
	if tx.atOnce(cn) {
		if !stop() {
			return fault.Wrap(fault.Canceled, cn.op("bdat"), context.Cause(ctx))
		}
		return ride()
	}
	if err := tx.begin(ctx, cn); err != nil {
		return err
	}
	send := tx.send
	if cn.octets() {
		tx.data, send = !tx.refused && len(tx.taken) > 0, tx.sendChunks
	}
	switch {
	case tx.data && len(tx.taken) > 0:
		tx.sending = true
		if err := send(ctx, cn, stop); err != nil {
			return err
		}
		if tx.refused { // by the answer to a chunk
			return nil
		}
		return tx.finish(cn)
	case tx.data:
		// Nobody is to get a message, yet the server waits for one: it gets an empty one (RFC 2920 §3.1).
		// How many answers follow is not said anywhere, so that the connection ends here.
		_, _ = cn.Write([]byte(".\r\n"))
		return nil
	}
	cn.broken = !stop()
	return nil
}

// begin names sender and recipients and asks for the go-ahead.
func (tx *transaction) begin(ctx context.Context, cn *conn) error {
	cmds := tx.commands(cn)
	step := 1
	if cn.ext.pipelining {
		step = window
	}
	cn.dirty = cn.dirty || len(cmds) > 0
	for sent := 0; sent < len(cmds); {
		group := cmds[sent:min(sent+step, len(cmds))]
		if sent > 0 && (tx.refused || group[0].verb == "DATA" && len(tx.taken) == 0) {
			return nil
		}
		for _, c := range group {
			if err := c.write(cn, tx); err != nil {
				return cn.failure(ctx, c.op(), err)
			}
		}
		if err := cn.flush(); err != nil {
			return cn.failure(ctx, group[0].op(), err)
		}
		for _, c := range group {
			r, err := cn.answer(cn.limits.Command, nil)
			if err != nil {
				return cn.failure(ctx, c.op(), err)
			}
			if err := tx.note(cn, c, r); err != nil {
				return err
			}
		}
		sent += len(group)
	}
	return nil
}

// downgrade answers the recipients that the server cannot take (RFC 6531 §3.5), all of them where the message is larger
// than it takes any (RFC 1870 §6).
func (tx *transaction) downgrade(cn *conn) {
	if limit := cn.ext.maxSize; limit > 0 && tx.msg.Size+int64(len(tx.msg.Trace)) > limit {
		for _, i := range tx.todo {
			tx.replies[i] = local.Reply{Recipient: tx.env.To[i], Code: 552,
				Text: "5.3.4 the destination takes messages of at most " + strconv.FormatInt(limit, 10) + " octets"}
		}
		tx.todo = nil
	}
	if cn.ext.utf8 {
		return
	}
	todo := tx.todo[:0]
	for _, i := range tx.todo {
		if ascii(tx.env.To[i]) {
			todo = append(todo, i)
			continue
		}
		tx.replies[i] = local.Reply{Recipient: tx.env.To[i], Code: 553,
			Text: "5.6.7 the destination takes no addresses beyond ASCII (SMTPUTF8)"}
	}
	tx.todo = todo
}

// command is one command of a transaction.
type command struct {
	verb string
	to   int // index of the recipient, for RCPT
}

func (c command) op() string { return strings.ToLower(c.verb) }

// commands lists what is said, in order; nothing if nobody is left to be named.
func (tx *transaction) commands(cn *conn) []command {
	if len(tx.todo) == 0 {
		return nil
	}
	cmds := make([]command, 0, len(tx.todo)+3)
	if cn.dirty {
		cmds = append(cmds, command{verb: "RSET"})
	}
	cmds = append(cmds, command{verb: "MAIL"})
	for _, i := range tx.todo {
		cmds = append(cmds, command{"RCPT", i})
	}
	if cn.octets() {
		return cmds
	}
	return append(cmds, command{verb: "DATA"})
}

func (c command) write(cn *conn, tx *transaction) error {
	switch c.verb {
	case "MAIL":
		return cn.command("MAIL FROM:<", tx.sender(cn), ">", tx.parameters(cn))
	case "RCPT":
		return cn.command("RCPT TO:<", tx.env.To[c.to], ">")
	}
	return cn.command(c.verb)
}

// sender returns the reverse-path, the null one if the server cannot take it.
func (tx *transaction) sender(cn *conn) string {
	if !validPath(tx.env.From) || !cn.ext.utf8 && !ascii(tx.env.From) {
		return ""
	}
	return tx.env.From
}

// parameters returns those of MAIL (RFC 6152, RFC 1870, RFC 6531).
func (tx *transaction) parameters(cn *conn) string {
	var s string
	switch {
	case cn.octets():
		s = " BODY=BINARYMIME"
	case cn.ext.eightBit:
		s = " BODY=8BITMIME"
	}
	if cn.ext.size && tx.msg.Size > 0 {
		s += " SIZE=" + strconv.FormatInt(tx.msg.Size+int64(len(tx.msg.Trace)), 10)
	}
	if cn.ext.utf8 {
		wide := !ascii(tx.sender(cn))
		for _, i := range tx.todo {
			wide = wide || !ascii(tx.env.To[i])
		}
		if wide {
			s += " SMTPUTF8"
		}
	}
	return s
}

// note takes the answer to a command. An error means that the connection is of no more use.
func (tx *transaction) note(cn *conn, c command, r reply) error {
	if tx.refused || c.verb == "DATA" && len(tx.taken) == 0 {
		// What was sent behind a refused MAIL, or for no recipient, is refused for that reason alone.
		tx.data = c.verb == "DATA" && r.code == 354
		return nil
	}
	refusal := r.code/100 == 4 || r.code/100 == 5
	switch {
	case aboutUs(r.code):
	case c.verb == "DATA" && r.code == 354:
		tx.data = true
		return nil
	case c.verb == "DATA" && refusal:
		tx.refuse(tx.taken, r)
		return nil
	case c.verb == "RCPT" && r.ok():
		tx.taken = append(tx.taken, c.to)
		return nil
	case c.verb == "RCPT" && refusal:
		tx.answer(c.to, r)
		return nil
	case c.verb == "MAIL" && refusal:
		tx.refuse(tx.todo, r)
		return nil
	case c.verb != "DATA" && r.ok():
		return nil
	}
	return cn.unwilling(c.op(), r)
}

// aboutUs says that a code is about the session, not about the message or a recipient: the server goes
// away, takes the command for another time, or wants us to sign in first.
func aboutUs(code int) bool {
	switch code {
	case 421, 502, 503, 530, 534, 535, 538:
		return true
	}
	return false
}

// answer notes what a recipient was answered.
func (tx *transaction) answer(to int, r reply) {
	tx.replies[to] = local.Reply{Recipient: tx.env.To[to], Code: r.code, Text: r.String()}
}

// refuse notes one answer for many recipients.
func (tx *transaction) refuse(to []int, r reply) {
	for _, i := range to {
		tx.answer(i, r)
	}
	tx.refused = true
	tx.taken = nil
}
