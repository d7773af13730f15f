package pop3

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// twin undoes dot stuffing the slow way: octet by octet. rest is what follows the end mark.
func twin(in []byte) (out, rest []byte, ended bool) {
	bol := true
	for i := 0; i < len(in); i++ {
		if bol && in[i] == '.' {
			if bytes.HasPrefix(in[i:], endMark) {
				return out, in[i+len(endMark):], true
			}
			if len(in)-i < len(endMark) {
				return out, nil, false
			}
			if i++; i == len(in) {
				return out, nil, false
			}
		}
		out = append(out, in[i])
		bol = bytes.HasSuffix(out, []byte("\r\n")) && in[i] == '\n' && i > 0 && in[i-1] == '\r'
	}
	return out, nil, false
}

// pieces hands out its octets in pieces of a given size.
type pieces struct {
	b    []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b[:min(p.size, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}

func FuzzBody(f *testing.F) {
	for _, s := range []string{
		"one\r\ntwo\r\n.\r\n+OK\r\n", "..\r\n.x\r\n...\r\n.\r\n", "a\n.\nb\r.\rc\n.\r\n\r\n.\r\n", ".\r\n", "", ".", ".\r",
		"x\r\n.", "x\r\n.\r", "\r\r\n.\r\n", "\x00\r\n.\n\r\n.\r\n", ".\r\r\n.\r\n", "\r\n\r\n..\r\n.\r\n",
	} {
		f.Add([]byte(s), uint8(1), uint8(1))
		f.Add([]byte(s), uint8(100), uint8(7))
	}
	f.Fuzz(func(t *testing.T, in []byte, network, read uint8) {
		want, rest, ended := twin(in)
		r := bufio.NewReaderSize(&pieces{in, int(network) + 1}, 16)
		b := newBody(r, 1<<20)
		var got []byte
		var err error
		for buf := make([]byte, int(read)+1); err == nil; {
			var n int
			n, err = b.Read(buf)
			got = append(got, buf[:n]...)
		}
		if (errors.Is(err, io.EOF)) != ended || !bytes.Equal(got, want) {
			t.Fatalf("%q: got %q %v, want %q %v", in, got, err, want, ended)
		}
		if !ended {
			if fault.KindOf(err) != fault.Network {
				t.Fatalf("%q: a cut response is %v", in, err)
			}
			return
		}
		if left, _ := io.ReadAll(r); !bytes.Equal(left, rest) {
			t.Fatalf("%q: %q is left, want %q", in, left, rest)
		}
		r = bufio.NewReaderSize(&pieces{in, int(network) + 1}, 16)
		b = newBody(r, 1<<20)
		_, _ = b.Read(make([]byte, int(read)+1))
		if err := b.drain(1 << 20); err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		if left, _ := io.ReadAll(r); !bytes.Equal(left, rest) {
			t.Fatalf("%q: after a drain %q is left, want %q", in, left, rest)
		}
	})
}

func FuzzList(f *testing.F) {
	f.Add(2, "1 a\r\n2 b\r\n", "1 10\r\n2 20\r\n")
	f.Add(2, "1 a\r\n1 b\r\n", "2 10\r\n1 -20\r\n")
	f.Add(-1, "-1   a\r\n\r\n 99999999999999999999 x\n3", "3 99999999999999999999\r\n0 1\r\n+1 1\r\n")
	f.Add(3, "1 a\r\n2 b\r\n", "1 10\r\n2 20\r\n")
	f.Add(3, "3 same\r\n1 same\r\n2\r\n", "1\r\n2 2 2\r\n3 3\r\n")
	f.Add(1, strings.Repeat("x", 5000)+"\r\n1 a\r\n", "1 "+strings.Repeat("9", 5000)+"\r\n1 1\r\n")
	const limit = 50
	f.Fuzz(func(t *testing.T, count int, uidl, list string) {
		l := merge(count, readTable(strings.NewReader(uidl), limit, parseUIDL), readTable(strings.NewReader(list), limit, parseLIST))
		if len(l.Items) > limit {
			t.Fatalf("%d items", len(l.Items))
		}
		last, uids := 0, map[string]bool{}
		for _, i := range l.Items {
			if i.Number <= last || i.Size < 0 || len(i.UniqueID) > maxUniqueID || uids[i.UniqueID] {
				t.Fatalf("item %+v after number %d", i, last)
			}
			last = i.Number
			if i.UniqueID != "" {
				uids[i.UniqueID] = true
			}
		}
		if l.Complete && (len(l.Items) != count || l.Note != "") {
			t.Fatalf("complete with %d of %d items: %q", len(l.Items), count, l.Note)
		}
		if !l.Complete && l.Note == "" {
			t.Fatal("not complete for no reason")
		}
	})
}

// FuzzSession lets a server say anything: a session ends, in an error or not, and shows no password.
func FuzzSession(f *testing.F) {
	const canary = "kAnary-7f3a" // begins with no hex digit: an escaped octet before the rest of it would look like it
	f.Add([]byte("+OK\r\n-ERR\r\n+OK\r\n+OK\r\n+OK 1 2\r\n+OK\r\n1 a\r\n.\r\n+OK\r\n1 2\r\n.\r\n+OK\r\nx\r\n.\r\n+OK\r\n+OK\r\n"))
	f.Add([]byte("+OK\r\n+OK\r\nPIPELINING\r\n.\r\n+OK\r\n+OK\r\n+OK 1 2\r\n+OK\r\n1 a\r\n.\r\n+OK\r\n1 2\r\n.\r\n-ERR [SYS/TEMP]\r\n-ERR\r\n"))
	f.Add([]byte("+OK\r\n-ERR\r\n+OK\r\n-ERR [AUTH] kAnary-7f3a\r\n"))
	f.Add([]byte("+OK\r\n-ERR\r\n+OK\r\nPASS kAnary-7f3a\r\n"))
	f.Add([]byte("\r\n"))
	f.Add([]byte("kAnary-7f3a\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() { _, _ = io.Copy(io.Discard, server); close(done) }()
		go func() { _, _ = server.Write(said); _ = server.Close() }()
		d := remote.Dialer{DialContext: func(context.Context, string, string) (net.Conn, error) { return client, nil }}
		err := play(t.Context(), d, remote.Target{Host: "localhost", Port: 110, Username: "u", Password: canary})
		<-done
		if err == nil {
			return
		}
		if k := fault.KindOf(err); k == fault.Internal || strings.Contains(err.Error(), canary) {
			t.Fatalf("kind %s: %v", k, err)
		}
	})
}

func play(ctx context.Context, d remote.Dialer, target remote.Target) error {
	s, err := Dial(ctx, d, target)
	if err != nil {
		return err
	}
	defer s.Abort()
	l, err := s.List(ctx)
	if err != nil {
		return err
	}
	if err := s.Fetch(ctx, l.Items, func(remote.Fetched) error { return nil }); err != nil {
		return err
	}
	if err := s.Delete(ctx, l.Items); err != nil {
		return err
	}
	return s.Close(ctx)
}
