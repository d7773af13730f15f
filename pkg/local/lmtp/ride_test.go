package lmtp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/lmtp"
	"github.com/mailferry/mailferry/pkg/testenv"
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

// Who may not be sent, or is canceled, leaves; the others go on. After a while without an answer all are asked again.
func TestRidersLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		asked := map[string]int{}
		r := ride(t, nil, func(_ int, p *peer) {
			p.want(sent("c@b")) // whose commit took long: that of a@b is too old
			p.say("250 ok", "250 ok", "250 C")
			p.want(sent("a@b"))
			p.say("250 ok", "250 ok", "250 A")
			p.heard()
		})
		count := func(to string, err error, takes time.Duration) func(context.Context) error {
			return func(context.Context) error { asked[to]++; time.Sleep(takes); return err }
		}
		ctx, cancel := context.WithCancel(t.Context())
		r.start(t.Context(), "c@b", count("c", nil, 2*time.Second))
		r.start(t.Context(), "a@b", count("a", nil, 0))
		r.start(ctx, "canceled@b", count("canceled", nil, 0))
		r.start(t.Context(), "b@b", count("b", boom, 0))
		cancel()
		r.release <- struct{}{}
		if got := <-r.got["canceled@b"]; !strings.Contains(got, "canceled") {
			t.Error(got)
		}
		if got := <-r.got["b@b"]; !strings.Contains(got, "boom") {
			t.Error(got)
		}
		r.want(map[string]string{"second@b": "250 saved", "a@b": "250 A", "c@b": "250 C"})
		if asked["a"] != 2 || asked["b"] != 1 || asked["c"] != 1 || asked["canceled"] != 0 {
			t.Errorf("asked %v", asked)
		}
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

// moody is a server with state, as RFC 5321 and RFC 3030 want it, that refuses what it likes and hangs up at times. It counts
// what it took.
type moody struct {
	mu    sync.Mutex
	rng   *rand.Rand
	taken map[string]int // recipient and body
	rode  int            // transactions that came behind another
}

func (m *moody) chance(percent int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rng.IntN(100) < percent
}

func (m *moody) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	r, w := bufio.NewReaderSize(c, 256<<10), bufio.NewWriter(c)
	say := func(s string) { _, _ = w.WriteString(s + "\r\n") }
	say("220 moody")
	mail, to := false, ""
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "LHLO":
			mail, to = false, ""
			say("250-PIPELINING\r\n250 CHUNKING")
		case "RSET":
			mail, to = false, ""
			say("250 reset")
		case "MAIL":
			switch {
			case mail:
				say("503 nested MAIL")
			case m.chance(5):
				say("451 not from there")
			default:
				mail = true
				say("250 ok")
			}
		case "RCPT":
			switch {
			case !mail:
				say("503 need MAIL")
			case m.chance(10):
				say("550 who")
			default:
				to = strings.TrimSuffix(strings.TrimPrefix(rest, "TO:<"), ">")
				say("250 ok")
			}
		case "BDAT":
			size, _ := strconv.Atoi(strings.TrimSuffix(rest, " LAST"))
			text := make([]byte, size)
			if _, err := io.ReadFull(r, text); err != nil {
				return
			}
			if to == "" {
				say("503 need RCPT")
				break
			}
			if m.chance(1) {
				if m.chance(50) {
					say("421 bye")
				}
				_ = w.Flush()
				return
			}
			if m.chance(10) {
				say("452 full")
			} else {
				m.mu.Lock()
				m.taken[to+"\n"+string(text)]++
				if r.Buffered() > 0 {
					m.rode++
				}
				m.mu.Unlock()
				say("250 saved " + to)
				if m.chance(1) { // the answer is lost, now and then
					if m.chance(50) {
						_ = w.Flush()
					}
					return
				}
			}
			mail, to = false, ""
		case "QUIT":
			return
		default:
			say("500 what")
		}
	}
}

// Whatever a server refuses, and whenever it hangs up, each message that counts as accepted is there once, for who it was for and
// as it was; one that counts as refused is not there; and only of one whose answer was lost nobody knows.
func TestEachMessageOnce(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	m := &moody{rng: rand.New(rand.NewPCG(seed, 0)), taken: map[string]int{}} //nolint:gosec // a server's moods
	l, err := net.Listen("unix", testenv.TempDir(t)+"/lmtp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go m.serve(c)
		}
	}()
	c := lmtp.New(lmtp.Config{Hello: "me", MaxConns: 2, Endpoints: []lmtp.Endpoint{{Network: "unix", Address: l.Addr().String()}}})
	const workers, each = 32, 150
	type result struct {
		key     string
		replies []local.Reply
		err     error
	}
	results := make(chan result, workers*each)
	var wg sync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			for i := range each {
				to := fmt.Sprintf("u%d.%d@b", n, i)
				body := strings.Repeat(fmt.Sprintf("RSET\r\nMAIL FROM:<%d>\r\nNOOP\r\n", i), 1+(n*i)%50)
				replies, err := c.Deliver(t.Context(), local.Envelope{To: []string{to}},
					local.Message{Trace: []byte("Trace: 1\r\n"), Body: strings.NewReader(body), Size: int64(len(body))}, nil)
				results <- result{to + "\nTrace: 1\r\n" + body, replies, err}
			}
		})
	}
	wg.Wait()
	_ = c.Close()
	close(results)
	accepted, refused, lost := 0, 0, 0
	for r := range results {
		to, _, _ := strings.Cut(r.key, "\n")
		n := m.taken[r.key]
		delete(m.taken, r.key)
		switch {
		case local.Uncertain(r.err):
			lost++
			if strings.Contains(r.err.Error(), "out of step") {
				t.Errorf("%s: %v", to, r.err)
			}
			if n > 1 {
				t.Errorf("%s is there %d times", to, n)
			}
		case r.err == nil && len(r.replies) == 1 && r.replies[0].Accepted():
			accepted++
			if n != 1 || r.replies[0].Text != "saved "+to {
				t.Errorf("%s is there %d times; it was answered %q", to, n, r.replies[0].Text)
			}
		default:
			refused++
			if n != 0 {
				t.Errorf("%s is there %d times; it was answered %+v, %v", to, n, r.replies, r.err)
			}
		}
	}
	if len(m.taken) != 0 {
		t.Errorf("%d messages that nobody sent", len(m.taken))
	}
	t.Logf("%d accepted, %d refused or failed, %d uncertain; %d rode in front of another", accepted, refused, lost, m.rode)
	if accepted == 0 || refused == 0 || m.rode == 0 {
		t.Error("not all was tried")
	}
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// crowd hands messages over at once on one connection, some of them for a recipient who is refused.
func crowd(t *testing.T, c *lmtp.Client, refused string) (accepted int) {
	t.Helper()
	var wg sync.WaitGroup
	for n := range 40 {
		to := "alice@example.com"
		if n%5 == 2 {
			to = refused
		} else {
			accepted++
		}
		wg.Go(func() {
			msg := filtered(fmt.Sprint("isp", n))
			replies, err := c.Deliver(t.Context(), local.Envelope{From: "sender@example.org", To: []string{to}}, msg, nil)
			if err != nil || len(replies) != 1 || replies[0].Accepted() == (to == refused) {
				t.Errorf("message %d to %s: replies %+v, error %v", n, to, replies, err)
			}
		})
	}
	wg.Wait()
	return accepted
}

// Servers that are in use take several transactions in one write, and swallow the chunks that they refuse.
func TestRealServersTakeRiders(t *testing.T) {
	t.Parallel()
	each := func(t *testing.T, dove *testenv.Dovecot, want int) {
		t.Helper()
		testenv.Eventually(t, time.Minute, "all messages lie there", func() bool { return len(dove.Messages("alice@example.com")) == want })
		accounts := map[string]bool{}
		for _, m := range dove.Messages("alice@example.com") {
			_, rest, _ := strings.Cut(string(m), "account=")
			account, _, _ := strings.Cut(rest, ";")
			accounts[account] = true
			if !strings.HasSuffix(string(m), "Subject: x\n\nGr\xc3\xbc\xc3\x9fe\n.\n") {
				t.Errorf("message %q", m)
			}
		}
		if len(accounts) != want {
			t.Errorf("%d different messages, want %d", len(accounts), want)
		}
	}
	t.Run("Dovecot", func(t *testing.T) {
		t.Parallel()
		dove := testenv.NewDovecot(t, testenv.DovecotNoTLS())
		rides := &rideCount{}
		c := lmtp.New(lmtp.Config{MaxConns: 1, Endpoints: []lmtp.Endpoint{{Network: "unix", Address: dove.LMTPSocket}}, Dial: rides.dial}).Fast()
		defer c.Close()
		each(t, dove, crowd(t, c, "@example.com"))
		if rides.n.Load() == 0 {
			t.Error("nobody rode")
		}
	})
	t.Run("Postfix", func(t *testing.T) {
		t.Parallel()
		p, dove := postfix(t, "")
		c := relay(t, p, dove.Password, p.Pool, func(c *lmtp.Config) { c.MaxConns = 1 }).Fast()
		each(t, dove, crowd(t, c, "refused@example.com"))
	})
}

// rideCount counts the transactions that go out with another.
type rideCount struct{ n atomic.Int64 }

func (r *rideCount) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	return &rideConn{c, r}, err
}

type rideConn struct {
	net.Conn
	count *rideCount
}

func (c *rideConn) Write(p []byte) (int, error) {
	c.count.n.Add(int64(max(0, bytes.Count(p, []byte(" LAST\r\n"))-1)))
	return c.Conn.Write(p)
}
