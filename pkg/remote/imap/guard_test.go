package imap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// canned is a connection on which the server has said all already; what is written goes nowhere.
type canned struct {
	net.Conn // nil
	r        io.Reader
}

func (c *canned) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c *canned) Write(p []byte) (int, error)      { return len(p), nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }
func (c *canned) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *canned) Close() error                     { return nil }

// guarded returns a guard above what a server says, with an answer due.
func guarded(t testing.TB, said []byte, p phase) *guard {
	t.Helper()
	d := remote.Dialer{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return &canned{r: bytes.NewReader(said)}, nil
		},
		Limits: remote.Limits{Line: 1 << 10, Message: 4 << 10},
	}
	conn, err := d.Connect(context.Background(), remote.Target{Host: "x", Port: 1, TLS: account.Disable})
	if err != nil {
		t.Fatal(err)
	}
	g := &guard{wire: newWire(conn, secrets{"cAnary-7f3a"})}
	g.begin(expectation{phase: p, octets: 1 << 20, answers: 1000})
	return g
}

func TestGuardRewrites(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		phase    phase
		in, want string
	}{
		{noFetch, "T1 OK\r\n", "T1 OK \r\n"},
		{noFetch, "T1 no [alert x y] text\n", "T1 NO [ALERT] text\r\n"},
		{noFetch, "T1 OK [open text\r\n", "T1 OK (open text\r\n"},
		{noFetch, "T1 OK [] x\r\n", "T1 OK (] x\r\n"},
		{noFetch, "T1 OK [APPENDUID 1] x\r\n", "T1 OK x\r\n"},
		{noFetch, "T1 OK [UIDVALIDITY 5] x\r\n", "T1 OK x\r\n"},
		{noFetch, "T1 OK a\x00b\rc\r\n", "T1 OK a?b?c\r\n"},
		{noFetch, "* OK [UIDVALIDITY 5] x\r\n* OK [UIDVALIDITY x] y\r\n", "* OK [UIDVALIDITY 5] x\r\n"},
		{noFetch, "* ok [capability a b\"c d] x\r\n", "* OK [CAPABILITY A D] x\r\n"},
		{noFetch, "T1 OK [CAPABILITY] x\r\n", "T1 OK x\r\n"},
		{noFetch, "* capability imap4rev1  x\r\n", "* CAPABILITY IMAP4REV1 X\r\n"},
		{noFetch, "* 3 exists\r\n* 4 RECENT\r\n* 2 EXPUNGE \r\n", "* 3 EXISTS\r\n* 2 EXPUNGE\r\n"},
		{noFetch, "* SEARCH\r\n* SEARCH 2  3 \r\n", "* SEARCH\r\n* SEARCH 2 3\r\n"},
		{noFetch, "+ go on\r\n+\r\n", "+ go on\r\n+ \r\n"},
		{noFetch, "* 1 FETCH (UID 5 RFC822.SIZE 3)\r\n* NO x\r\n* OK y\r\n", ""},
		{listing, "* 1 FETCH (RFC822.SIZE 3 FLAGS (\\Seen) UID 5)\r\n", "* 1 FETCH (RFC822.SIZE 3 UID 5)\r\n"},
		{listing, "* 1 FETCH (UID 5)\r\n* 1 FETCH (UID 5 FLAGS ())\r\n* 1 FETCH ()\r\n", "* 1 FETCH (UID 5)\r\n"},
		{listing, "* 1 FETCH (UID 5 BODY[] {3}\r\nabc RFC822.SIZE 3)\r\n", "* 1 FETCH (UID 5 RFC822.SIZE 3)\r\n"},
		{fetching, "* 1 FETCH (UID 5 FLAGS (\\Seen \\Recent $x) BODY[] {3}\r\n(]\r INTERNALDATE \" 1-Feb-2026 00:00:00 +0000\")\r\n",
			"* 1 FETCH (UID 5 FLAGS (\\Seen $x) BODY[] {3}\r\n(]\r INTERNALDATE \" 1-Feb-2026 00:00:00 +0000\")\r\n"},
		{fetching, "* 1 FETCH (BODY[] {1}\r\na UID 5 X {1}\r\nb FLAGS ())\r\n", "* 1 FETCH (BODY[] {1}\r\na UID 5 FLAGS ())\r\n"},
		{fetching, "* 1 FETCH (UID 5 BODY[] {1}\r\na \"\r\nT1 OK x\r\n", "* 1 FETCH (UID 5 BODY[] {1}\r\na)\r\nT1 OK x\r\n"},
		{fetching, "* LIST (\\X) {3}\r\n\r\n* {4}\r\n* OK rest\r\nT1 OK x\r\n", "T1 OK x\r\n"},
		{fetching, "* 1 FETCH (UID 5 FLAGS (\\Seen))\r\n", ""},
		{fetching, "* 1 FETCH (UID 5 BODY[] \"a\xff\r\x01\")\r\n", "* 1 FETCH (UID 5 BODY[] \"a\xff\r\x01\")\r\n"},
		{noFetch, "T1 NO gr\xfc\xdfe\r\n", "T1 NO gr\xfc\xdfe\r\n"},
	} {
		got, err := io.ReadAll(guarded(t, []byte(tt.in), tt.phase))
		if string(got) != tt.want || fault.KindOf(err) != fault.Network {
			t.Errorf("%q becomes %q, want %q; %v", tt.in, got, tt.want, err)
		}
	}
}

// TestGuardErrorIsFinal reads on after an error, and writes.
func TestGuardErrorIsFinal(t *testing.T) {
	t.Parallel()
	g := guarded(t, []byte("hello\r\nT1 OK x\r\n"), noFetch)
	_, first := io.ReadAll(g)
	_, again := io.ReadAll(g)
	_, written := g.Write([]byte("x"))
	if fault.KindOf(first) != fault.Protocol || !errors.Is(again, first) || !errors.Is(written, first) {
		t.Errorf("%v, %v, %v", first, again, written)
	}
}

// TestGuardAllowance sends more octets than the command can bring.
func TestGuardAllowance(t *testing.T) {
	t.Parallel()
	g := guarded(t, bytes.Repeat([]byte("* 1 FETCH (UID 5 BODY[] {4096}\r\n"+strings.Repeat("x", 4096)+")\r\n"), 900), fetching)
	n, err := io.Copy(io.Discard, g)
	if fault.KindOf(err) != fault.Protocol || !strings.Contains(err.Error(), "more octets") || n > 3<<20 {
		t.Errorf("%d octets, %v", n, err)
	}
}

func TestSecretsAreWithheld(t *testing.T) {
	t.Parallel()
	s := secrets{"correct horse", "", "kurz"}
	for text, withheld := range map[string]bool{
		"nothing here": false, "CORRECT H": true, "correct!": false, "ct horse?": true, "kurz": true, "kur": false,
	} {
		if got := strings.Contains(s.quote(text), "withheld"); got != withheld {
			t.Errorf("%q: withheld %v", text, got)
		}
	}
}

func TestSetsAreShort(t *testing.T) {
	t.Parallel()
	var sparse, dense []remote.Item
	for u := range uint32(5000) {
		sparse = append(sparse, remote.Item{UID: 4294960000 - 2*u})
		dense = append(dense, remote.Item{UID: 10 + u})
	}
	if got := sets(dense); len(got) != 1 || got[0].String() != "10:5009" {
		t.Errorf("%v", got)
	}
	n := 0
	for _, set := range sets(sparse) {
		n += len(set)
		if len(set.String()) > 1000 {
			t.Errorf("%d octets", len(set.String()))
		}
	}
	if n != 5000 {
		t.Errorf("%d of 5000", n)
	}
}

func TestOnlyOurs(t *testing.T) {
	t.Parallel()
	ours := []remote.Item{{UID: 9}, {UID: 5}, {UID: 6}, {UID: 20}}
	for _, tt := range []struct {
		found goimap.UIDSet
		want  bool
	}{
		{goimap.UIDSet{{Start: 5, Stop: 6}, {Start: 20, Stop: 20}}, true},
		{goimap.UIDSet{{Start: 5, Stop: 7}}, false},
		{goimap.UIDSet{{Start: 4, Stop: 5}}, false},
		{goimap.UIDSet{{Start: 1, Stop: 4294967295}}, false},
		{goimap.UIDSet{{Start: 5, Stop: 0}}, false},
		{goimap.UIDSet{{Start: 21, Stop: 21}}, false},
		{goimap.UIDSet{{Start: 0, Stop: 0}}, false},
	} {
		if got := onlyOurs(tt.found, ours); got != tt.want {
			t.Errorf("%v: %v", tt.found, got)
		}
	}
}

// FuzzGuard says that whatever a server sends, what comes out of the guard is well formed, comes out the
// same a second time, and neither stops nor turns imapclient in circles.
func FuzzGuard(f *testing.F) {
	for _, s := range []string{
		"* OK [CAPABILITY IMAP4rev1 (\r\n", "* CAPABILITY X (\r\n", "* ENABLED (\r\n", "T2 OK [CAPABILITY (] x\r\n",
		"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nT2 OK [READ-ONLY] done\r\n",
		"* 1 FETCH (UID 5 FLAGS (\\Seen) INTERNALDATE \" 1-Feb-2026 00:00:00 +0000\" BODY[] {3}\r\nabc)\r\nT2 OK x\r\n",
		"* 1 FETCH (BODY[] {3}\r\nabc UID 5)\r\n", "* 1 FETCH (UID 5 BODY[] \"a\\\"b\")\r\n", "* 1 FETCH (UID 5 BODY[] NIL)\r\n",
		"* 1 FETCH (ENVELOPE (\"a\" {2}\r\n)( NIL) UID 5 RFC822.SIZE 3)\r\n", "* ESEARCH (TAG \"T2\") UID ALL 1:4294967295\r\n",
		"* SEARCH 1 2 3\r\nT2 NO [THROTTLED] x\r\n", "+ \r\n", "* LIST () \"/\" {5}\r\nINBOX\r\n", "* BYE [UNAVAILABLE] x\r\n",
		"* 1 FETCH (UID 5 BODY[HEADER.FIELDS (\"]\")]<0> ~{2}\r\nab BODY[] {0}\r\n)\r\n", "* VANISHED 1:4\r\n* 1 RECENT\r\n", "\r\n",
		"* 1 FETCH (UID 5 BODY[] {99999999999999999999}\r\n", "* 1 FETCH (UID 5 BODY[] {-1}\r\n", "* OK [ALERT open\r\nT2 OK ]\r\n",
	} {
		for p := range 3 {
			f.Add([]byte(s), p)
		}
	}
	f.Fuzz(func(t *testing.T, said []byte, p int) {
		if p < 0 || p > int(fetching) {
			return
		}
		once, err := io.ReadAll(guarded(t, said, phase(p)))
		if err == nil {
			t.Fatal("it ends without an error")
		}
		twice, _ := io.ReadAll(guarded(t, once, phase(p)))
		if cut := len(twice) < len(once) && bytes.HasPrefix(once, twice); !bytes.Equal(once, twice) && !cut {
			t.Errorf("%q becomes %q, then %q", said, once, twice)
		}
		feed(t, said, phase(p), wellFormed(t, once))
	})
}

// wellFormed looks at each line that came out of the guard, passing over literals. It says whether all
// are untagged responses.
func wellFormed(t *testing.T, out []byte) bool {
	r := bufio.NewReader(bytes.NewReader(out))
	untagged, inside := true, false
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return untagged // the rest is cut
		}
		untagged = untagged && (inside || strings.HasPrefix(line, "* "))
		inside = false
		if len(line) > 8<<10 || !strings.HasSuffix(line, "\r\n") || !strings.Contains(line, `BODY[] "`) && strings.ContainsAny(line[:len(line)-2], "\r\x00") {
			t.Fatalf("line %q", line)
		}
		if i := strings.LastIndex(line, "BODY[] {"); i >= 0 {
			var n int64
			if _, err := fmt.Sscanf(line[i:], "BODY[] {%d}", &n); err == nil {
				inside = true
				_, _ = io.CopyN(io.Discard, r, n)
			}
		}
	}
}

// feed lets imapclient read what comes out of the guard, with commands under way. It must be able to,
// unless there is an answer to what was not asked.
func feed(t *testing.T, said []byte, p phase, readable bool) {
	s := &session{}
	g := guarded(t, said, p)
	s.conn, s.wire = g.conn, g.wire
	g.emit("* OK [CAPABILITY IMAP4rev1] ready\r\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.client = imapclient.New(g, nil)
		_ = s.client.WaitGreeting()
		cmd := s.client.Fetch(goimap.UIDSet{{Start: 1}}, &goimap.FetchOptions{UID: true})
		search := s.client.UIDSearch(&goimap.SearchCriteria{}, nil)
		_ = cmd.Close()
		_, _ = search.Wait()
		_ = s.client.Close()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("imapclient does not end on %q", said)
	}
	if cause := g.failure(); errors.Is(cause, errUnreadable) && readable {
		t.Errorf("imapclient cannot read what the guard makes of %q", said)
	}
}

// What says who we are goes out in one write with the command behind it.
func TestHeldCommand(t *testing.T) {
	t.Parallel()
	var writes []string
	d := remote.Dialer{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return &written{canned{r: bytes.NewReader(nil)}, &writes}, nil
		},
	}
	conn, err := d.Connect(context.Background(), remote.Target{Host: "x", Port: 1, TLS: account.Disable})
	if err != nil {
		t.Fatal(err)
	}
	g := &guard{wire: newWire(conn, nil), hold: true}
	for _, command := range []string{"T1 ID NIL\r\n", "T2 NOOP\r\n", "T3 NOOP\r\n"} {
		if n, err := g.Write([]byte(command)); n != len(command) || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := []string{"T1 ID NIL\r\nT2 NOOP\r\n", "T3 NOOP\r\n"}; !slices.Equal(writes, want) {
		t.Errorf("written %q, want %q", writes, want)
	}
}

// written keeps what is written.
type written struct {
	canned
	writes *[]string
}

func (w *written) Write(p []byte) (int, error) {
	*w.writes = append(*w.writes, string(p))
	return len(p), nil
}
