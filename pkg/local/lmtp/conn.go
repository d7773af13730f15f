package lmtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"golang.org/x/sys/unix"
)

// Sizes of a connection's buffers: all that a message of any size occupies.
const (
	outSize = 32 << 10
	inSize  = 16 << 10
)

// conn is a connection that was greeted. One goroutine uses it at a time.
type conn struct {
	net.Conn
	raw    net.Conn // beneath TLS
	proto  Protocol
	limits Timeouts
	cfg    Config
	client string // as XCLIENT told it last, "" for us
	in     replyReader
	out    []byte // not yet written; its capacity is outSize
	chunk  []byte // for reading bodies
	wide   []byte // what goes out in one write
	text   []byte // one message of it, as canonical lines
	server *habits
	name   string // as we greeted
	ext    extensions
	kept   bool      // was in the pool before
	usedAt time.Time // when it went back there
	dirty  bool      // a transaction was begun that has to be reset
	broken bool      // must not be used for another message

	tried bool          // swallows was asked
	shy   bool          // and the answer was no
	mute  bool          // the server says nothing to a chunk for nobody
	rode  int           // messages in the last write, 0 if it was none of these
	took  time.Duration // for their answers
}

// habits is what is known of a server, by all its connections.
type habits struct {
	noBDAT   atomic.Bool  // it offers BDAT and refuses it
	shyUntil atomic.Int64 // nothing is sent to it at once until then, in ns
}

// coy has nothing sent at once for a while.
func (cn *conn) coy() { cn.server.shyUntil.Store(time.Now().Add(shyFor).UnixNano()) }

// connect opens a connection and brings it to where mail can be handed over.
func connect(ctx context.Context, cfg Config, at Endpoint, server *habits) (*conn, error) {
	dialing, cancel := context.WithTimeout(ctx, cfg.Timeouts.Dial)
	nc, err := cfg.Dial(dialing, at.Network, at.Address)
	cancel()
	cn := &conn{Conn: nc, raw: nc, proto: cfg.Protocol, limits: cfg.Timeouts, cfg: cfg, server: server}
	if err != nil {
		return nil, cn.failure(ctx, "connect", err)
	}
	cn.out, cn.chunk = make([]byte, 0, outSize), make([]byte, inSize)
	cn.in.r = bufio.NewReaderSize(nc, maxReplyLine)
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	err = cn.open(ctx, cfg, at)
	if !stop() && err == nil {
		err = fault.Wrap(fault.Canceled, cn.op("hello"), context.Cause(ctx))
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return cn, nil
}

// answer reads the next answer within limit, however slowly it comes.
func (cn *conn) answer(limit time.Duration, each func([]byte)) (reply, error) {
	if !cn.in.ready() {
		if err := cn.SetReadDeadline(time.Now().Add(limit)); err != nil {
			return reply{}, err
		}
	}
	return cn.in.read(each)
}

// command adds a command line to what is written next.
func (cn *conn) command(parts ...string) error {
	for _, s := range parts {
		if err := cn.reserve(len(s)); err != nil {
			return err
		}
		cn.out = append(cn.out, s...)
	}
	return cn.emit(crlf)
}

// emit adds octets to what is written next; it writes when the buffer is full.
func (cn *conn) emit(p []byte) error {
	for len(p) > 0 {
		if err := cn.reserve(1); err != nil {
			return err
		}
		n := min(len(p), cap(cn.out)-len(cn.out))
		cn.out = append(cn.out, p[:n]...)
		p = p[n:]
	}
	return nil
}

// reserve makes room for n octets.
func (cn *conn) reserve(n int) error {
	if len(cn.out)+n <= cap(cn.out) {
		return nil
	}
	if n > cap(cn.out) {
		return errors.New("a command is too long")
	}
	return cn.flush()
}

// flush writes what is there.
func (cn *conn) flush() error {
	_, err := cn.write()
	return err
}

// write writes what is there and says whether all of it was taken.
func (cn *conn) write() (whole bool, err error) {
	if err := cn.SetWriteDeadline(time.Now().Add(cn.limits.Write)); err != nil {
		return false, err
	}
	n, err := cn.Write(cn.out)
	whole = n == len(cn.out)
	cn.out = cn.out[:0]
	return whole, err
}

// quiet says that the server neither closed a kept connection nor said anything on it.
func (cn *conn) quiet() bool {
	if cn.in.r.Buffered() > 0 {
		return false
	}
	sc, ok := cn.raw.(syscall.Conn)
	if !ok {
		return true
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	ready := 0
	if rc.Control(func(fd uintptr) {
		for {
			ready, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}) != nil {
		return false
	}
	return err == nil && ready == 0
}

// quit ends an idle connection in order, if the server has not done so, and takes the word at once.
func (cn *conn) quit() {
	if cn.quiet() {
		_ = cn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = cn.Write([]byte("QUIT\r\n"))
	}
	_ = cn.Close()
}

// op names a step in errors.
func (cn *conn) op(step string) string { return string(cn.proto) + " " + step }

// failure gives err the kind destination-temporary; the end of ctx comes first as a cause.
func (cn *conn) failure(ctx context.Context, step string, err error) error {
	if ctx.Err() != nil {
		return fault.Wrap(fault.Canceled, cn.op(step), context.Cause(ctx))
	}
	return fault.New(fault.DestinationTemporary, cn.op(step), err)
}

// unwilling is the error for a server that refuses to go on, whatever the message.
func (cn *conn) unwilling(step string, r reply) error {
	return fault.New(fault.DestinationTemporary, cn.op(step), fmt.Errorf("the destination answered %d %s", r.code, r))
}

// validWord says whether s can stand in a command line as one word.
func validWord(s string) bool {
	return s != "" && len(s) <= 255 && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) < 0
}
