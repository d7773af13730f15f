package lmtp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/lmtp"
)

// sent is a message for a recipient as it goes over the wire.
func sent(to string) string {
	return "MAIL FROM:<>\r\nRCPT TO:<" + to + ">\r\nBDAT 13 LAST\r\nTrace: 1\r\nx\r\n"
}

// riders hands over a message that shows a server to be fast, a second one that it has in hand, and meanwhile others, which
// answer the caller by the order of their recipients.
type riders struct {
	t       *testing.T
	c       *lmtp.Client
	release chan struct{} // the server may answer the second one
	got     map[string]chan string
}

// ride has the messages of who wait until the server, which has in hand what it gets first, goes on with serve.
func ride(t *testing.T, cfg func(*lmtp.Config), serve func(n int, p *peer)) *riders {
	t.Helper()
	r := &riders{t: t, release: make(chan struct{}), got: map[string]chan string{}}
	conf := pipes(t, func(n int, p *peer) {
		p.chunking()
		if n == 1 {
			p.want(sent("first@b"))
			p.say("250 ok", "250 ok", "250 saved")
			p.want(sent("second@b"))
			<-r.release
			p.say("250 ok", "250 ok", "250 saved")
		}
		serve(n, p)
	})
	if cfg != nil {
		cfg(&conf)
	}
	r.c = lmtp.New(conf)
	if replies, err := deliverTo(t, r.c, "x", "first@b"); err != nil || len(replies) != 1 {
		t.Fatalf("replies %+v, error %v", replies, err)
	}
	r.start(t.Context(), "second@b", nil)
	return r
}

// start hands over a message, and returns when it waits.
func (r *riders) start(ctx context.Context, to string, commit func(context.Context) error, opt ...func(*local.Message)) {
	msg := local.Message{Trace: []byte("Trace: 1\r\n"), Body: strings.NewReader("x"), Size: 1}
	for _, o := range opt {
		o(&msg)
	}
	got := make(chan string, 1)
	r.got[to] = got
	go func() {
		replies, err := r.c.Deliver(ctx, local.Envelope{To: []string{to}}, msg, commit)
		switch {
		case err == nil && len(replies) == 1 && replies[0].Recipient == to:
			got <- strings.TrimSpace(fmt.Sprint(replies[0].Code, " ", replies[0].Text))
		case local.Uncertain(err):
			got <- unsure
		case fault.KindOf(err) == fault.DestinationTemporary:
			got <- failed
		default:
			got <- fmt.Sprint(replies, err)
		}
	}()
	synctest.Wait()
}

// want says what becomes of the messages.
func (r *riders) want(outcomes map[string]string) {
	r.t.Helper()
	for to, want := range outcomes {
		if got := <-r.got[to]; got != want {
			r.t.Errorf("%s: %s, want %s", to, got, want)
		}
	}
	_ = r.c.Close()
	synctest.Wait()
}

const reset = "RSET\r\n"

// takeAll takes messages, together or not, and notes them.
func (p *peer) takeAll(got chan<- string) {
	for s := p.heard(); strings.HasPrefix(s, "MAIL"); s = p.heard() {
		for i, one := range strings.Split(s, reset) {
			if got != nil {
				got <- one
			}
			if i > 0 {
				p.say("250 r")
			}
			p.say("250 ok", "250 ok", "250 again")
		}
	}
}

// Messages that wait for one connection go out in one write, the one whose turn it is behind the others; each has the answer
// to itself, whatever the server makes of them.
func TestMessagesRideTogether(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answers string
		a, b, c string
		kept    bool
	}{
		"accepted": {"250 ok,250 ok,250 A,250 r,250 ok,250 ok,250 B,250 r,250 ok,250 ok,250 C", "250 A", "250 B", "250 C", true},
		"refused":  {"250 ok,250 ok,452 A,250 r,250 ok,250 ok,554 B,250 r,250 ok,250 ok,250 C", "452 A", "554 B", "250 C", true},
		"recipients refused": {"250 ok,550 A,503 no,250 r,250 ok,450 B,503 no,250 r,250 ok,250 ok,250 C",
			"550 A", "450 B", "250 C", true},
		"senders refused": {"550 A,503 no,503 no,250 r,450 B,503 no,503 no,250 r,250 ok,250 ok,250 C", "550 A", "450 B", "250 C", true},
		"last recipient refused": {"250 ok,250 ok,250 A,250 r,250 ok,250 ok,250 B,250 r,250 ok,550 C,503 no",
			"250 A", "250 B", "550 C", false},
		"session refused at one": {"250 ok,250 ok,250 A,250 r,530 first,503 no,503 no,250 r,250 ok,250 ok,250 C", "250 A", failed, "250 C", true},
		"takes a message for commands": {"250 ok,550 A,503 no,500 Trace?,250 x,250 r,250 ok,250 ok,250 B,250 r,250 ok,250 ok,250 C",
			"550 A", unsure, unsure, false},
		"takes a refused message for commands": {"250 ok,250 ok,552 A,500 Trace?,250 x,250 r,250 ok,250 ok,250 B", "552 A", unsure, unsure, false},
		"takes what it refused":                {"250 ok,550 A,250 yet,250 r,250 ok,250 ok,550 B,250 r,250 ok,250 ok,550 C", "550 A", unsure, unsure, false},
		"no reset":                             {"250 ok,250 ok,250 A,451 r,250 ok,250 ok,250 B,250 r,250 ok,250 ok,250 C", "250 A", unsure, unsure, false},
		"nonsense":                             {"250 ok,354 go,250 A,250 r,250 ok,250 ok,250 B,250 r,250 ok,250 ok,250 C", unsure, unsure, unsure, false},
		"hangs up":                             {"", unsure, unsure, unsure, false},
		"hangs up behind one":                  {"250 ok,250 ok,250 A", "250 A", unsure, unsure, false},
		"hangs up within one":                  {"250 ok,250 ok,250 A,250 r,250 ok", "250 A", unsure, unsure, false},
		"hangs up behind a refusal":            {"250 ok,550 A", "550 A", unsure, unsure, false},
		"leaves":                               {"421 bye", failed, "250 again", "250 again", false},
		"leaves behind one":                    {"250 ok,250 ok,250 A,421 bye", "250 A", failed, "250 again", false},
		"leaves within one":                    {"250 ok,250 ok,250 A,250 r,250 ok,421 bye", "250 A", failed, "250 again", false},
		"leaves with an answer":                {"250 ok,250 ok,421 A", "421 A", "250 again", "250 again", false},
		"leaves, and goes on":                  {"250 ok,250 ok,250 A,421 bye,250 ok,250 ok,250 B", "250 A", failed, unsure, false},
		"knows BDAT no more":                   {"250 ok,250 ok,500 what,250 r,250 ok,250 ok,250 B,250 r,250 ok,250 ok,250 C", failed, "250 B", "250 C", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := ride(t, nil, func(n int, p *peer) {
					if n > 1 {
						p.takeAll(nil)
						return
					}
					p.want(sent("a@b") + reset + sent("b@b") + reset + sent("c@b"))
					if tt.answers != "" {
						p.say(strings.Split(tt.answers, ",")...)
					}
					if tt.kept {
						p.want("QUIT\r\n")
					} else if len(tt.answers) > 120 {
						p.want("")
					}
				})
				r.start(t.Context(), "c@b", nil) // whose turn it is next
				r.start(t.Context(), "a@b", nil)
				r.start(t.Context(), "b@b", nil)
				r.release <- struct{}{}
				r.want(map[string]string{"second@b": "250 saved", "a@b": tt.a, "b@b": tt.b, "c@b": tt.c})
			})
		})
	}
}

// shortConn breaks within a write of several transactions, in the second one.
type shortConn struct{ net.Conn }

var cut = len(sent("a@b")+reset+sent("b@b")) - 1

func (c shortConn) Write(p []byte) (int, error) {
	if bytes.Count(p, []byte(" LAST\r\n")) < 3 {
		return c.Conn.Write(p)
	}
	n, _ := c.Conn.Write(p[:cut])
	return n, errors.New("broken")
}

// Of a message whose last octets did not leave it is known that nobody took it: it is handed over on another connection.
func TestConnectionBreaksWithinARide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		again := make(chan string, 10)
		r := ride(t, func(c *lmtp.Config) {
			dial := c.Dial
			c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				nc, err := dial(ctx, network, address)
				return shortConn{nc}, err
			}
		}, func(n int, p *peer) {
			if n == 1 {
				p.want((sent("a@b") + reset + sent("b@b"))[:cut])
				p.say("250 ok", "250 ok", "250 A", "250 r", "250 ok", "250 ok")
				return
			}
			p.takeAll(again)
		})
		r.start(t.Context(), "c@b", nil)
		r.start(t.Context(), "a@b", nil)
		r.start(t.Context(), "b@b", nil)
		r.release <- struct{}{}
		r.want(map[string]string{"second@b": "250 saved", "a@b": "250 A", "b@b": "250 again", "c@b": "250 again"})
		if len(again) != 2 || (<-again == sent("b@b")) != (<-again == sent("c@b")) {
			t.Error("each of them once, please")
		}
	})
}

// A server that once took messages for commands is handed one at a time, by DATA.
func TestOutOfStepOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ended sync.Once
		c := (*riders)(nil)
		first := make(chan struct{})
		conf := pipes(t, func(n int, p *peer) {
			if n > 1 {
				p.greet("PIPELINING", "CHUNKING")
				p.want("MAIL FROM:<>\r\nRCPT TO:<d@b>\r\nDATA\r\n")
				p.say("250 ok", "250 ok", "354 go")
				p.heard()
				p.say("250 D")
				p.heard()
				return
			}
			p.chunking()
			p.want(sent("first@b"))
			p.say("250 ok", "250 ok", "250 saved")
			p.want(sent("second@b"))
			<-first
			p.say("250 ok", "250 ok", "250 saved")
			p.heard()
			p.say("250 ok", "550 A", "503 no", "500 Trace?", "500 x?", "250 r", "250 ok", "250 ok", "250 B")
			p.heard()
			ended.Do(func() {})
		})
		c = &riders{t: t, c: lmtp.New(conf), got: map[string]chan string{}}
		_, _ = deliverTo(t, c.c, "x", "first@b")
		c.start(t.Context(), "second@b", nil)
		c.start(t.Context(), "b@b", nil)
		c.start(t.Context(), "a@b", nil)
		first <- struct{}{}
		synctest.Wait()
		c.start(t.Context(), "d@b", nil)
		c.want(map[string]string{"second@b": "250 saved", "a@b": "550 A", "b@b": unsure, "d@b": "250 D"})
	})
}

// Who may not be sent, or is canceled, leaves; the others go on.
func TestRidersLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := ride(t, nil, func(_ int, p *peer) {
			p.want(sent("a@b") + reset + sent("c@b"))
			p.say("250 ok", "250 ok", "250 A", "250 r", "250 ok", "250 ok", "250 C")
			p.heard()
		})
		ctx, cancel := context.WithCancel(t.Context())
		r.start(t.Context(), "c@b", nil)
		r.start(t.Context(), "a@b", nil)
		r.start(ctx, "canceled@b", func(context.Context) error { t.Error("asked though canceled"); return nil })
		r.start(t.Context(), "b@b", func(context.Context) error { return errors.New("boom") })
		cancel()
		r.release <- struct{}{}
		if got := <-r.got["canceled@b"]; !strings.Contains(got, "canceled") {
			t.Error(got)
		}
		if got := <-r.got["b@b"]; !strings.Contains(got, "boom") {
			t.Error(got)
		}
		r.want(map[string]string{"second@b": "250 saved", "a@b": "250 A", "c@b": "250 C"})
	})
}

// No message goes out on an old word: where a caller takes long, the others are asked again, and wait for one at most.
func TestCallersAreAskedInTime(t *testing.T) {
	t.Parallel()
	for _, slow := range []string{"a", "b", "c"} {
		t.Run(slow, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var said sync.Map // times by caller: who has the connection asks for the others
				r := ride(t, nil, func(_ int, p *peer) {
					for s := p.heard(); strings.HasPrefix(s, "MAIL"); s = p.heard() {
						for i, one := range strings.Split(s, reset) {
							_, to, _ := strings.Cut(one, "TO:<")
							at, _ := said.Load(to[:1])
							if age := time.Since(at.(time.Time)); age > time.Second {
								t.Errorf("%s@b goes out on a word of %v ago", to[:1], age)
							}
							if i > 0 {
								p.say("250 r")
							}
							p.say("250 ok", "250 ok", "250 saved")
						}
					}
				})
				want := map[string]string{"second@b": "250 saved"}
				for _, who := range []string{"c", "a", "b"} {
					r.start(t.Context(), who+"@b", func(context.Context) error {
						if who == slow {
							time.Sleep(2 * time.Second)
						}
						said.Store(who, time.Now())
						return nil
					})
					want[who+"@b"] = "250 saved"
				}
				r.release <- struct{}{}
				r.want(want)
			})
		})
	}
}

// Somebody whose mail takes the server long has others wait once, and then for a while not again.
func TestSlowMailDoesNotHoldUpOthersAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int32
		c := lmtp.New(pipes(t, func(_ int, p *peer) {
			p.chunking()
			open.Add(1)
			for s := p.heard(); strings.HasPrefix(s, "MAIL"); s = p.heard() {
				for i, one := range strings.Split(s, reset) {
					if strings.Contains(one, "slow@b") {
						time.Sleep(time.Second)
					}
					if i > 0 {
						p.say("250 r")
					}
					p.say("250 ok", "250 ok", "250 saved")
				}
			}
		}))
		_, _ = deliverTo(t, c, "x", "fast@b")
		_, _ = deliverTo(t, c, "x", "slow@b")
		_, _ = deliverTo(t, c, "x", "fast@b") // its pace is that of a fast server again
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _, _ = deliverTo(t, c, "x", "slow@b") })
		}
		synctest.Wait()
		if open.Load() != 4 {
			t.Errorf("%d connections for 4 messages", open.Load())
		}
		wg.Wait()
		_ = c.Close()
		synctest.Wait()
	})
}

// One that may be there already goes alone, and so does a large one; what rides together is bounded.
func TestWhoDoesNotRide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rides := make(chan int, 10)
		r := ride(t, func(c *lmtp.Config) { c.MaxConns = 1 }, func(_ int, p *peer) {
			for {
				n := strings.Count(p.heard(), "LAST\r\n")
				if n == 0 {
					return
				}
				rides <- n
				for i := range n {
					if i > 0 {
						p.say("250 r")
					}
					p.say("250 ok", "250 ok", "250 saved")
				}
			}
		})
		large := func(m *local.Message) { m.Body, m.Size = strings.NewReader(strings.Repeat("x", 20<<10)), 20<<10 }
		want := map[string]string{"second@b": "250 saved"}
		for n := range 5 { // three of them are 64 KiB
			to := fmt.Sprintf("large%d@b", n)
			r.start(t.Context(), to, nil, large)
			want[to] = "250 saved"
		}
		r.start(t.Context(), "repeat@b", nil, func(m *local.Message) { m.Repeat = true })
		want["repeat@b"] = "250 saved"
		for n := range 20 {
			to := fmt.Sprintf("small%d@b", n)
			r.start(t.Context(), to, nil)
			want[to] = "250 saved"
		}
		r.release <- struct{}{}
		r.want(want)
		close(rides)
		var got []int
		for n := range rides {
			got = append(got, n)
		}
		// 3 large ones and 13 small; 2 large ones and the rest; the repeated one.
		if fmt.Sprint(got) != "[16 9 1]" {
			t.Errorf("rode together: %v", got)
		}
	})
}

// Nobody waits long for a server that has come to a stop, or for one that is slow, if they can have their own connection.
func TestNobodyWaitsLongForARide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := ride(t, nil, func(n int, p *peer) {
			if n > 1 {
				p.want(sent("b@b") + reset + sent("a@b"))
				p.say("250 ok", "250 ok", "250 B", "250 r", "250 ok", "250 ok", "250 A")
			}
			p.heard()
		})
		start := time.Now()
		r.start(t.Context(), "a@b", nil)
		r.start(t.Context(), "b@b", nil)
		for to, want := range map[string]string{"a@b": "250 A", "b@b": "250 B"} {
			if got := <-r.got[to]; got != want {
				t.Errorf("%s: %s", to, got)
			}
		}
		if d := time.Since(start); d > 10*time.Millisecond {
			t.Errorf("waited %v", d)
		}
		r.release <- struct{}{}
		r.want(map[string]string{"second@b": "250 saved"})
	})
	synctest.Test(t, func(t *testing.T) { // slow: one connection for each
		open := make(chan struct{}, 8)
		c := lmtp.New(pipes(t, func(_ int, p *peer) {
			p.chunking()
			open <- struct{}{}
			for s := p.heard(); s != "" && s != "QUIT\r\n"; s = p.heard() {
				time.Sleep(2 * time.Millisecond)
				p.say("250 ok", "250 ok", "250 saved")
			}
		}))
		_, _ = deliverTo(t, c, "x", "a@b")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { _, _ = deliverTo(t, c, "x", "a@b") })
		}
		wg.Wait()
		_ = c.Close()
		synctest.Wait()
		if len(open) != 8 {
			t.Errorf("%d connections", len(open))
		}
	})
}

// A server has to swallow the chunks that it refuses, or it is handed messages by DATA, on the same connection where it
// bears to be asked. One that says nothing to a chunk for nobody is understood.
func TestSwallows(t *testing.T) {
	t.Parallel()
	const data = "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n"
	hello := []string{"250-PIPELINING", "250 CHUNKING"}
	for name, tt := range map[string]struct {
		answers []string
		again   bool // on another connection
		want    string
	}{
		"swallows":             {append([]string{"503 no"}, hello...), false, sent("a@b")},
		"says nothing":         {hello, false, sent("a@b")},
		"obeys":                {append([]string{"503 no", "500 what", "500 what"}, hello...), false, data},
		"obeys, says nothing":  {append([]string{"500 what", "500 what"}, hello...), false, data},
		"takes it":             {append([]string{"250 ok"}, hello...), true, data},
		"leaves":               {[]string{"421 bye"}, true, data},
		"hangs up":             {nil, true, data},
		"never comes to it":    {[]string{"503 no", "500 what", "500 what", "500 what", "500 what"}, true, data},
		"has forgotten itself": {[]string{"503 no", "250 me"}, true, data},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := lmtp.New(pipes(t, func(n int, p *peer) {
				p.greet("PIPELINING", "CHUNKING")
				if n == 1 {
					p.want(noCommand + "LHLO me\r\n")
					p.say(tt.answers...)
					if tt.again {
						return
					}
				}
				p.want(tt.want)
				p.say("250 ok", "250 ok")
				if tt.want == data {
					p.say("354 go")
					p.heard()
				}
				p.say("250 saved")
				p.heard()
			}))
			replies, err := deliverTo(t, c, "x", "a@b")
			if err != nil || len(replies) != 1 || replies[0].Code != 250 {
				t.Errorf("replies %+v, error %v", replies, err)
			}
			_ = c.Close()
		})
	}
}
