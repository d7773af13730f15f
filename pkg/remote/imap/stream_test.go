package imap_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/imap"
)

// stream starts a server for one INBOX with UIDVALIDITY 7, whose answer to any FETCH is what answer
// writes.
func stream(t testing.TB, answer func(io.Writer)) int {
	t.Helper()
	return streamFor(t, 1, func(w io.Writer, _ string) { answer(w) })
}

// streamFor is stream for a mailbox of n messages; answer sees the command.
func streamFor(t testing.TB, n int, answer func(w io.Writer, command string)) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serveStream(c, n, answer)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().(*net.TCPAddr).Port
}

func serveStream(c net.Conn, n int, answer func(io.Writer, string)) {
	r, w := bufio.NewReader(c), bufio.NewWriterSize(c, 64<<10)
	fmt.Fprint(w, "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")
	for {
		if w.Flush() != nil {
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		tag, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		word, _, _ := strings.Cut(strings.TrimPrefix(command, "UID "), " ")
		switch word {
		case "AUTHENTICATE":
			fmt.Fprintf(w, "%s OK [CAPABILITY IMAP4rev1 UIDPLUS] in\r\n", tag)
			continue
		case "EXAMINE", "SELECT":
			fmt.Fprintf(w, "* %d EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n", n)
		case "FETCH":
			answer(w, command)
		}
		fmt.Fprintf(w, "%s OK done\r\n", tag)
	}
}

// watchHeap looks at the heap from now on; the function that it returns says how much it has grown at
// most. What two collections in a row find counts: what is allocated while one goes on may be garbage.
func watchHeap(t testing.TB) func() int64 {
	t.Helper()
	measure := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	base, most := measure(), int64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		var last int64
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				now := measure() - base
				most, last = max(most, min(last, now)), now
			}
		}
	}()
	return func() int64 {
		close(stop)
		<-done
		return most
	}
}

// dialError returns the error of a dial.
func dialError(t testing.TB, d remote.Dialer, port int) error {
	t.Helper()
	s, err := imap.Dial(context.Background(), d, local(port))
	if err == nil {
		s.Abort()
	}
	return err
}

// dripping lets octets through one by one, with a pause, once mark was seen.
func dripping(dial func(context.Context, string, string) (net.Conn, error), mark string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		return &dripper{Conn: c, mark: []byte(mark)}, err
	}
}

type dripper struct {
	net.Conn
	mark []byte
	seen []byte
	drip bool
}

func (d *dripper) Read(p []byte) (int, error) {
	if d.drip && len(p) > 0 {
		time.Sleep(5 * time.Millisecond) // the drip itself
		p = p[:1]
	}
	n, err := d.Conn.Read(p)
	d.seen = append(d.seen, p[:n]...)
	d.drip = d.drip || bytes.Contains(d.seen, d.mark)
	return n, err
}

// fetchAll lists and fetches everything, and returns how many bodies came whole.
func fetchAll(ctx context.Context, s remote.Session) (int, error) {
	l, err := s.List(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	err = s.Fetch(ctx, l.Items, func(f remote.Fetched) error {
		if f.Err != nil {
			return f.Err
		}
		if _, err := io.Copy(io.Discard, f.Body); err != nil {
			return err
		}
		n++
		return nil
	})
	return n, err
}

// TestListInNoOrder sends a large listing backwards, with gaps.
func TestListInNoOrder(t *testing.T) {
	t.Parallel()
	const messages = 200_000
	port := streamFor(t, messages, func(w io.Writer, _ string) {
		for u := messages; u > 0; u-- {
			fmt.Fprintf(w, "* %d FETCH (UID %d RFC822.SIZE 3)\r\n", u, 2*u)
		}
	})
	l, err := session(t, dialer(nil), local(port)).List(t.Context())
	if err != nil || !l.Complete || len(l.Items) != messages || l.Items[0].UID != 2 || l.Items[messages-1].UID != 2*messages {
		t.Errorf("%d messages, %s, %v", len(l.Items), l.Note, err)
	}
}

// distant puts a way of one round trip of d between us and the server.
func distant(dial func(context.Context, string, string) (net.Conn, error), d time.Duration) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		f := &far{Conn: c, way: make(chan parcel, 1024), closed: make(chan struct{})}
		go f.carry(d)
		return f, nil
	}
}

// far is a connection whose octets are under way for a while.
type far struct {
	net.Conn
	way    chan parcel
	rest   []byte
	closed chan struct{}
	once   sync.Once
}

type parcel struct {
	octets []byte
	at     time.Time
}

func (f *far) carry(d time.Duration) {
	defer close(f.way)
	for {
		b := make([]byte, 32<<10)
		n, err := f.Conn.Read(b)
		if err != nil {
			return
		}
		select {
		case f.way <- parcel{b[:n], time.Now().Add(d)}:
		case <-f.closed:
			return
		}
	}
}

func (f *far) Read(p []byte) (int, error) {
	if len(f.rest) == 0 {
		next, ok := <-f.way
		if !ok {
			return 0, io.EOF
		}
		time.Sleep(time.Until(next.at))
		f.rest = next.octets
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

func (f *far) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.Conn.Close()
}

func (f *far) SetReadDeadline(time.Time) error { return nil }

// BenchmarkFetch fetches 10,000 messages of 2 KB a time, from next door and from far away.
func BenchmarkFetch(b *testing.B) {
	for _, d := range []time.Duration{0, 20 * time.Millisecond} {
		b.Run("round trip "+d.String(), func(b *testing.B) {
			dial := dialer(nil)
			if d > 0 {
				dial.DialContext = distant(dial.DialContext, d)
			}
			benchmarkFetch(b, dial)
		})
	}
}

func benchmarkFetch(b *testing.B, d remote.Dialer) {
	const messages = 10_000
	body := strings.Repeat("0123456789abcde\n", 128)
	port := streamFor(b, messages, func(w io.Writer, command string) {
		var lo, hi uint32
		if strings.HasPrefix(command, "UID FETCH 1:* ") {
			for u := 1; u <= messages; u++ {
				fmt.Fprintf(w, "* %d FETCH (UID %d RFC822.SIZE %d)\r\n", u, u, len(body))
			}
			return
		}
		if n, _ := fmt.Sscanf(command, "UID FETCH %d:%d ", &lo, &hi); n == 1 {
			hi = lo
		}
		for u := lo; u <= hi; u++ {
			fmt.Fprintf(w, "* %d FETCH (UID %d INTERNALDATE \"01-Feb-2026 10:00:00 +0100\" FLAGS (\\Seen) BODY[] {%d}\r\n", u, u, len(body))
			_, _ = io.WriteString(w, body)
			_, _ = io.WriteString(w, ")\r\n")
		}
	})
	s := session(b, d, local(port))
	b.ReportAllocs()
	start := time.Now()
	for b.Loop() {
		if n, err := fetchAll(context.Background(), s); err != nil || n != messages {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.N)*messages/time.Since(start).Seconds(), "messages/s")
}
