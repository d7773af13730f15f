package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestRenumberedMailbox lets a server name its messages anew, twice, while new ones come: nothing is doubled,
// and what is new is collected, at once and later.
func TestRenumberedMailbox(t *testing.T) {
	t.Parallel()
	for _, proto := range []account.Protocol{account.POP3, account.IMAP} {
		t.Run(string(proto), func(t *testing.T) {
			t.Parallel()
			renumbered(t, proto)
		})
	}
}

func renumbered(t *testing.T, proto account.Protocol) {
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	user := "moved"
	seeds := testenv.Corpus(testenv.CorpusConfig{Name: user, Messages: 15})
	a := h.account("moved", user, proto, account.Leave)
	h.start("worker")
	h.start("delivery")
	there := 0
	collect := func(what string, more int) {
		for range more {
			remote.Append(user, seeds[there].Raw)
			there++
		}
		h.trigger(a, what, queue.Scheduled)
		testenv.Eventually(t, patience, what, func() bool { return len(s.copies(a.ForwardTo)) == there && h.idle(a) })
		checkCopies(t, s, a, seeds[:there], 0)
	}
	collect("at first", 11)
	if proto == account.POP3 {
		restart(remote, func() { remote.Configure("pop3_uidl_format = %f") })
	} else {
		restart(remote, func() { forgetNumbers(t, remote, user) })
	}
	collect("numbered anew", 1)
	collect("in between", 1)
	restart(remote, func() {
		remote.Configure("pop3_uidl_format = %v.%u")
		forgetNumbers(t, remote, user)
	})
	collect("numbered anew once more", 1)
	collect("after it all", 1)
}

func restart(d *testenv.Dovecot, change func()) {
	d.Stop()
	change()
	d.Start()
}

// forgetNumbers makes a Dovecot give all messages other UIDs under another UIDVALIDITY.
func forgetNumbers(t *testing.T, d *testenv.Dovecot, user string) {
	t.Helper()
	entries, err := os.ReadDir(d.Maildir(user))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "dovecot") {
			if err := os.RemoveAll(filepath.Join(d.Maildir(user), e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// stormRows are rows of the matrix in which the server names messages anew or otherwise.
var stormRows = []played{
	{name: "K all unique-ids change", play: func(r *row) {
		r.all()
		r.rename("again")
		r.add("m4")
		r.run()
		r.has("m1", "m2", "m3", "m4")
		r.rename("once more")
		r.add("m5")
	}},
	{name: "K no TOP, and all unique-ids change", play: func(r *row) {
		r.drop.noTOP = true
		r.all()
		r.rename("again")
		r.add("m4")
	}},
	{name: "K all unique-ids change, and headers tell nothing", play: func(r *row) {
		r.anonymous()
		r.all()
		r.rename("again")
		r.twice = true // rather than lost
	}},
	{name: "K all unique-ids change, and sizes", play: func(r *row) {
		r.received()
		r.all()
		r.rename("again")
		r.sizes(7)
	}},
	{name: "K all unique-ids change but one, which a new message of that size has", play: func(r *row) {
		r.all()
		r.rename("again")
		l := r.add("n1")
		r.drop.change(func() { l.uid = "uid-m1" })
	}},
	{name: "D QUIT is lost, then all unique-ids change", play: func(r *row) {
		r.drop.loseQUIT = true
		r.all()
		r.rename("again")
		r.drop.change(func() { r.drop.loseQUIT = false })
	}},
	{name: "D QUIT is lost, then all unique-ids change but one, which a new message of that size has", play: func(r *row) {
		r.drop.loseQUIT = true
		r.all()
		r.rename("again")
		l := r.add("n1")
		r.drop.change(func() { l.uid = "uid-m1" })
		r.drop.change(func() { r.drop.loseQUIT = false })
	}},
	{name: "D QUIT and identities are lost, then all unique-ids change but one, which a new message of that size has", play: func(r *row) {
		r.drop.loseQUIT = true
		r.all()
		if err := r.m.redis.Client.Del(r.t.Context(), fmt.Sprintf("mf:{%s}:%s:digests", r.m.slot(r.acc), r.acc.UID)).Err(); err != nil {
			r.t.Fatal(err)
		}
		r.rename("again")
		l := r.add("n1")
		r.drop.change(func() { l.uid = "uid-m1" })
		r.drop.change(func() { r.drop.loseQUIT = false })
		r.twice = true // rather than lost
		delete(r.wants, "n1")
		r.kept = []string{"n1"} // nobody knows what it is: it stays
	}},
	{name: "D QUIT is lost, then all unique-ids change, and sizes", play: func(r *row) {
		r.received()
		r.drop.loseQUIT = true
		r.all()
		r.rename("again")
		r.sizes(7)
		r.drop.change(func() { r.drop.loseQUIT = false })
		r.kept = []string{"m1", "m2", "m3"} // they may be others
	}},
	{name: "D all are deleted, and others come: no header is asked for", play: func(r *row) {
		r.all()
		r.add("m4")
		r.run()
		r.has("m4")
		r.drop.change(func() {
			if r.drop.tops > 0 {
				r.t.Errorf("%d TOPs", r.drop.tops)
			}
		})
	}},
	{name: "K one message shows another size", play: func(r *row) {
		r.received()
		r.all()
		l := r.at("m2")
		r.drop.change(func() { l.size = 77 })
	}},
	{name: "D sizes drift, and headers tell", account: keepNewest, play: func(r *row) {
		r.add("m4")
		r.add("m5")
		r.drift()
	}},
	{name: "D sizes drift, and headers tell nothing", account: keepNewest, play: func(r *row) {
		r.add("m4")
		r.add("m5")
		r.anonymous()
		r.drift()
		r.kept = []string{"m1", "m2", "m3", "m4", "m5", "m6"}
	}},
}

func keepNewest(a *account.Account) { a.AfterKeepNewest = 5 }

// drift lets the sizes of five messages be others when one of them is to be deleted.
func (r *row) drift() {
	r.all()
	r.remain("m1", "m2", "m3", "m4", "m5")
	r.sizes(7)
	r.add("m6")
	r.kept = []string{"m2", "m3", "m4", "m5", "m6"}
}

// all runs until the first messages are collected.
func (r *row) all() {
	r.run()
	r.has(r.lies...)
	r.ended(r.runs)
}

// received gives the messages a Received field.
func (r *row) received() {
	r.rewrite(func(l *letter) []byte { return fmt.Appendf(nil, "Received: by a for %s\r\n%s", l.id, l.raw) })
}

// anonymous takes their Message-ID.
func (r *row) anonymous() {
	r.rewrite(func(l *letter) []byte {
		return bytes.Replace(l.raw, []byte("\r\nMessage-ID:"), []byte("\r\nX-No-ID:"), 1)
	})
}

func (r *row) rewrite(raw func(*letter) []byte) {
	r.drop.change(func() {
		for _, l := range r.drop.letters {
			l.raw = raw(l)
			r.wants[strings.TrimPrefix(l.id, r.id(""))] = l.raw
		}
	})
}

// rename gives all messages other unique-ids.
func (r *row) rename(how string) {
	r.drop.change(func() {
		for _, l := range r.drop.letters {
			l.uid = strings.ReplaceAll(how, " ", "-") + l.id
		}
	})
}

// sizes lets LIST say other sizes.
func (r *row) sizes(more int) {
	r.drop.change(func() {
		for _, l := range r.drop.letters {
			l.size = len(l.raw) + more
		}
	})
}

// add puts one more message into the maildrop.
func (r *row) add(name string) *letter {
	l := r.letter(name)
	r.drop.change(func() { r.drop.letters = append(r.drop.letters, l) })
	r.lies = append(r.lies, name)
	return l
}
