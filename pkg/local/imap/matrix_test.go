package imap_test

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/imap"
)

// turn is what the client writes, "" where it only listens, and what the server answers.
type turn struct{ step, want, answer string }

// turns are those of one APPEND.
var turns = []turn{
	{"greeting", "", "* OK ready\r\n"},
	{"CAPABILITY", "M1 CAPABILITY\r\n", "* CAPABILITY IMAP4REV1 AUTH=PLAIN SASL-IR\r\nM1 OK done\r\n"},
	{"AUTHENTICATE", "M2 AUTHENTICATE PLAIN *\r\n", "M2 OK in\r\n"},
	{"CAPABILITY again", "M3 CAPABILITY\r\n", "* CAPABILITY IMAP4REV1\r\nM3 OK done\r\n"},
	{"LIST", "M4 LIST \"\" \"\"\r\n", "* LIST (\\Noselect) \"/\" \"\"\r\nM4 OK done\r\n"},
	{"APPEND", "M5 APPEND *\r\n", "+ go on\r\n"},
	{"message", "a: b\r\n\r\nxx\r\n", "M5 OK done\r\n"},
}

// TestMatrix has a server do every wrong thing at every step. What stands in no row is an error: surely nobody
// has the message, and it is tried again.
func TestMatrix(t *testing.T) {
	t.Parallel()
	const failed, unsure = "error", "unsure"
	answers := map[string]map[string]string{
		"APPEND": { // a bare NO has the mailbox made, and this server leaves then
			"slow": "250", "NO [OVERQUOTA]": "552", "NO [LIMIT]": "451", "NO [NOPERM]": "550", "BAD": "550",
		},
		"message": {
			"slow": "250", "NO": "451", "NO [OVERQUOTA]": "552", "NO [LIMIT]": "451", "NO [NOPERM]": "550", "BAD": "550",
			"BYE": unsure, "cut": unsure, "silent": unsure, "cut after": "250",
		},
	}
	for at, x := range turns {
		for _, do := range []string{"slow", "NO", "NO [OVERQUOTA]", "NO [LIMIT]", "NO [NOPERM]", "BAD", "BYE", "cut", "silent", "cut after"} {
			want, ok := answers[x.step][do]
			switch {
			case do == "slow":
				want = "250"
			case x.step == "LIST" && strings.HasPrefix(do, "NO"):
				continue // a server that does not say its delimiter is asked no more than that
			case !ok:
				want = failed
			}
			t.Run(x.step+" "+do, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					c := misbehaving(t, func(int) (int, string) { return at, do })
					if got := outcome(c, "alice@example.com"); !slices.Equal(got, []string{want}) {
						t.Errorf("%v, want %s", got, want)
					}
				})
			})
		}
	}
}

// Of two users, each has a connection and an answer of their own.
func TestHalfIsRefused(t *testing.T) {
	t.Parallel()
	last := len(turns) - 1
	for do, want := range map[string][]string{
		"NO": {"250", "451"}, "NO [OVERQUOTA]": {"250", "552"}, "BAD": {"250", "550"}, "cut": {"250", "unsure"}, "BYE": {"250", "unsure"},
	} {
		t.Run(do, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := misbehaving(t, func(n int) (int, string) {
					if n == 1 {
						return -1, ""
					}
					return last, do
				})
				if got := outcome(c, "alice@example.com", "bob@example.com"); !slices.Equal(got, want) {
					t.Errorf("%v, want %v", got, want)
				}
			})
		})
	}
}

// misbehaving returns a client of a server that plays the turns, but for what it does at one of them, as how says for each
// connection.
func misbehaving(t *testing.T, how func(n int) (at int, do string)) *imap.Client {
	t.Helper()
	var conns atomic.Int32
	c := imap.New(imap.Config{
		Address: "localhost:143", Credentials: imap.Credentials{Username: "ferry", Password: "secret"},
		Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			at, do := how(int(conns.Add(1)))
			go func() {
				defer theirs.Close()
				serve(t, theirs, at, do)
			}()
			return near{ours}, nil
		},
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// near says that a pipe does not leave this machine.
type near struct{ net.Conn }

func (near) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 143} }

func serve(t *testing.T, c net.Conn, at int, do string) {
	buf := make([]byte, 4096)
	for i, x := range turns {
		start, end, _ := strings.Cut(x.want, "*")
		for heard := ""; len(heard) < len(start) || !strings.HasPrefix(heard, start) || !strings.HasSuffix(heard, end); {
			n, err := c.Read(buf)
			if heard += string(buf[:n]); err != nil {
				if i <= at {
					t.Errorf("before %s the client wrote %q and left", x.step, heard)
				}
				return
			}
		}
		if i == at && !wrong(c, do, x, strings.HasSuffix(x.want, "\r\n") && i > 0) {
			return
		}
		if i != at {
			_, _ = c.Write([]byte(x.answer))
		}
	}
	for { // LOGOUT
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}

// wrong does something in place of the right answer, and says whether the server goes on.
func wrong(c net.Conn, do string, x turn, tagged bool) bool {
	say := func(s string) { _, _ = c.Write([]byte(s)) }
	switch do {
	case "slow":
		for _, octet := range []byte(x.answer) {
			time.Sleep(300 * time.Millisecond)
			say(string(octet))
		}
		return true
	case "cut":
		return false
	case "cut after":
		say(x.answer)
		return false
	case "silent":
		_, _ = c.Read(make([]byte, 1))
		return false
	case "BYE":
		say("* BYE bye\r\n")
		return false
	}
	tag := "*"
	if tagged {
		tag, _, _ = strings.Cut(x.want, " ")
	}
	if x.step == "message" {
		tag = "M5"
	}
	say(tag + " " + do + " no\r\n")
	_, _ = c.Read(make([]byte, 4096)) // LOGOUT, or what else comes
	return false
}

// outcome is the code that each user was answered, then what is said of those who were not.
func outcome(c *imap.Client, to ...string) []string {
	defer c.Close()
	env := alice
	env.To = to
	replies, err := c.Deliver(context.Background(), env, letter(), allow)
	var words []string
	for _, r := range replies {
		words = append(words, strconv.Itoa(r.Code))
	}
	switch {
	case err == nil:
	case fault.KindOf(err) != fault.DestinationTemporary:
		words = append(words, err.Error())
	case local.Uncertain(err):
		words = append(words, "unsure")
	default:
		words = append(words, "error")
	}
	return words
}
