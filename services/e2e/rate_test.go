package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/mailferry/mailferry/pkg/transit"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// load is what a delivery finds in TRANSIT.
type load struct {
	name        string
	size, count int
	flags       []string
}

var loads = []load{
	{"2k", 2 << 10, 6000, nil},
	{"20k", 20 << 10, 3000, nil},
	{"5m", 5 << 20, 64, []string{"--lmtp-connections", "64"}}, // all of them at once
}

const (
	rateRounds = 3
	// rateUsers get the messages in turn: a server locks a mailbox for each.
	rateUsers = 8
)

// TestDeliveryRate is no test but `task bench:delivery`: delivery alone, from a full TRANSIT into Dovecot and into a server
// that forgets, beside a bare client that pipelines the same messages and keeps no state. They take turns.
func TestDeliveryRate(t *testing.T) {
	if os.Getenv("BENCH_DELIVERY") == "" {
		t.Skip("task bench:delivery")
	}
	dove := testenv.NewDovecot(t, testenv.DovecotNoTLS())
	for _, to := range []struct{ suffix, socket string }{{"", dove.LMTPSocket}, {"_sink", forgetful(t)}} {
		h := newHouse(t, nil)
		h.destination("lmtp:unix:" + to.socket)
		var accounts []account.Account
		for n := range rateUsers {
			accounts = append(accounts, h.add(account.Account{Name: fmt.Sprintf("u%d", n), Protocol: account.POP3, Host: "pop.example.net:110"}, "secret"))
		}
		for _, l := range loads {
			var ours, bare, rss []float64
			for range rateRounds {
				bare = append(bare, bareRate(t, to.socket, l))
				h.fill(accounts, l)
				rate, peak := h.deliveryRate(l)
				ours, rss = append(ours, rate), append(rss, peak)
			}
			for _, f := range []struct {
				name, unit string
				value      float64
			}{
				{"delivery", "messages/s", median(ours)}, {"bare", "messages/s", median(bare)},
				{"ratio", "of_bare", median(ours) / median(bare)}, {"rss", "MB", median(rss)},
			} {
				fmt.Printf("%s_%s%s %.2f %s\n", f.name, l.name, to.suffix, f.value, f.unit)
			}
		}
		h.stopAll()
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// fill marks and publishes a load, as a run of each account does.
func (h *house) fill(accounts []account.Account, l load) {
	h.t.Helper()
	body := mailOf(l.size)
	for n, a := range accounts {
		if err := h.fillAccount(a, func() []byte { return body }, l.count*(n+1)/len(accounts)-l.count*n/len(accounts)); err != nil {
			h.t.Fatal(err)
		}
	}
}

// fillAccount marks and publishes so many bodies, all of one size, as a run does.
func (h *house) fillAccount(a account.Account, body func() []byte, count int) error {
	ctx := h.t.Context()
	hold, err := h.ledger.Acquire(ctx, ledger.AcquireRequest{Slot: h.slot(a), Account: a.UID, Job: rand.Text(), Owner: "rate"})
	if err != nil {
		return err
	}
	if hold.Epoch() == "" {
		if err := hold.OpenEpoch(ctx, "e1"); err != nil {
			return err
		}
	}
	keyer := ledger.NewKeyer(h.vault.KeySecret())
	size := int64(len(body()))
	var marks []ledger.MarkRequest
	for range count {
		marks = append(marks, ledger.MarkRequest{Key: keyer.UniqueID(rand.Text()), Size: size, Listed: size})
	}
	if _, err := hold.Mark(ctx, marks); err != nil {
		return err
	}
	pub, failed := h.transit.Publisher(0), make(chan error, count)
	for _, m := range marks {
		msg := &mailferryv1.FetchedMessage{
			AccountUid: a.UID, Domain: a.Domain, Name: a.Name, Key: string(m.Key), Epoch: hold.Epoch(), Revision: a.Revision, Slot: string(h.slot(a)),
			RunId: "rate", FetchedAt: timestamppb.Now(), ListedSize: m.Size, RemoteHost: "pop.example.net", Protocol: "pop3", Identity: make([]byte, 8),
		}
		if err := pub.Put(ctx, msg, bytes.NewReader(body()), func(err error) { failed <- err }); err != nil {
			return err
		}
	}
	if err := pub.Flush(ctx); err != nil {
		return err
	}
	for range count {
		if err := <-failed; err != nil && !errors.Is(err, transit.ErrHeld) {
			return err
		}
	}
	_, err = hold.Done(ctx)
	return err
}

// deliveryRate has a delivery of its own empty TRANSIT: messages a second, from the first one that is gone on, and the most
// memory it took.
func (h *house) deliveryRate(l load) (rate, rss float64) {
	h.t.Helper()
	held := func() int64 {
		s, err := h.transit.Stats(context.Background())
		if err != nil {
			h.t.Fatal(err)
		}
		return s.Messages
	}
	all := held()
	if int(all) != l.count {
		h.t.Fatalf("TRANSIT holds %d messages, want %d", all, l.count)
	}
	p := h.launch(nil, append([]string{"delivery", "--nats-url", h.nats.URL, "--redis-url", "unix://" + h.redis.Socket, "--health-listen", "off",
		"--log-level", "warn", "--vault-key-file", h.vaultFile()}, l.flags...)...)
	defer p.kill()
	var first time.Time
	begun := int64(0)
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		n := held()
		if first.IsZero() && n < all {
			first, begun = time.Now(), n
		}
		if n == 0 {
			break
		}
		if time.Since(start) > 5*time.Minute || p.ended() {
			h.t.Fatalf("%d messages are left", n)
		}
	}
	return float64(begun) / time.Since(first).Seconds(), peakMB(h.t, p.cmd.Process.Pid)
}

func peakMB(t testing.TB, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb / 1024
}

// mailOf is a message of that size.
func mailOf(size int) []byte {
	head := "From: a@example.org\r\nTo: b@example.com\r\nSubject: rate\r\nMessage-ID: <rate@example.org>\r\n\r\n"
	line := strings.Repeat("0123456789", 7) + "\r\n"
	return []byte((head + strings.Repeat(line, size/len(line)+1))[:size-2] + "\r\n")
}

// bareRate is messages a second of a client that sends whole transactions one behind the other, and reads the answers
// beside that.
func bareRate(t testing.TB, socket string, l load) float64 {
	t.Helper()
	const conns, ahead = 16, 8 // as many as a delivery has
	body := mailOf(l.size)
	start := time.Now()
	var all sync.WaitGroup
	for n := range conns {
		all.Go(func() {
			c, err := net.Dial("unix", socket)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			r, w := bufio.NewReader(c), bufio.NewWriterSize(c, 128<<10)
			answers := func(n int) {
				for n > 0 {
					s, err := r.ReadString('\n')
					if err != nil || s[0] != '2' {
						t.Errorf("the server answers %q, %v", s, err)
						return
					}
					if s[3] == ' ' {
						n--
					}
				}
			}
			answers(1)
			fmt.Fprint(c, "LHLO bare\r\n")
			answers(1)
			under := make(chan struct{}, ahead)
			var reader sync.WaitGroup
			reader.Go(func() {
				for range under {
					answers(3)
				}
			})
			for i := n; i < l.count; i += conns {
				fmt.Fprintf(w, "MAIL FROM:<>\r\nRCPT TO:<u%d@example.com>\r\nBDAT %d LAST\r\n", i%rateUsers, len(body))
				_, _ = w.Write(body)
				select {
				case under <- struct{}{}:
				default:
					_ = w.Flush() // what is waited for must have left
					under <- struct{}{}
				}
			}
			_ = w.Flush()
			close(under)
			reader.Wait()
		})
	}
	all.Wait()
	return float64(l.count) / time.Since(start).Seconds()
}

// forgetful is an LMTP server on a socket that takes everything and keeps nothing.
func forgetful(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("unix", testenv.TempDir(t)+"/sink")
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
			go forget(c)
		}
	}()
	return l.Addr().String()
}

func forget(c net.Conn) {
	defer c.Close()
	r, w := bufio.NewReaderSize(c, 64<<10), bufio.NewWriter(c)
	say := func(s string) { _, _ = w.WriteString(s + "\r\n") }
	say("220 sink")
	for data := false; ; {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		word, _, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		switch {
		case data:
			if data = string(word) != "." || len(line) != 3; !data {
				say("250 taken")
			}
		case string(word) == "LHLO":
			say("250-sink\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 PIPELINING")
		case string(word) == "DATA":
			data = true
			say("354 go")
		case string(word) == "BDAT":
			n, _ := strconv.ParseInt(string(bytes.Fields(line)[1]), 10, 64)
			if _, err := io.CopyN(io.Discard, r, n); err != nil {
				return
			}
			say("250 taken")
		default:
			say("250 ok")
		}
	}
}
