package e2e

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// pushed is an account whose mailbox is watched.
type pushed struct {
	*house
	t     *testing.T
	sink  *sink
	a     account.Account
	user  string
	seeds []testenv.Seed
	sent  int
}

func newPushed(t *testing.T, name string, after account.After) *pushed {
	acquire(t)
	p := &pushed{t: t, house: newHouse(t, testenv.NewDovecot(t)), sink: newSink(t), user: name}
	p.destination(p.sink.destination())
	p.seeds = testenv.Corpus(testenv.CorpusConfig{Name: name, Messages: 8})
	p.arrive()
	p.a = p.account(name, name, account.IMAP, after, func(a *account.Account) { a.Push = true })
	return p
}

// arrive puts the next message into the remote mailbox.
func (p *pushed) arrive() {
	p.remote.Append(p.user, p.seeds[p.sent].Raw)
	p.sent++
}

// watched waits until a worker watches the mailbox that is not the one given, and everything has arrived.
func (p *pushed) watched(but string) (by string) {
	p.t.Helper()
	testenv.Eventually(p.t, 60*time.Second, "everything has arrived and the mailbox is watched", func() bool {
		by = p.counts(p.a).Watcher
		return by != "" && by != but && len(p.sink.copies(p.a.ForwardTo)) == p.sent
	})
	return by
}

// TestPush lets mail arrive at a mailbox that is watched: nothing but the remote server asks for it. A manual run has
// the mailbox in between, and there is never more than one session.
func TestPush(t *testing.T) {
	t.Parallel()
	for _, after := range []account.After{account.Leave, account.Delete} {
		t.Run(string(after), func(t *testing.T) {
			t.Parallel()
			p := newPushed(t, "push-"+string(after), after)
			p.start("worker")
			p.start("delivery")
			p.trigger(p.a, "first", queue.Scheduled)
			p.watched("")
			for range 3 {
				p.arrive()
				p.watched("")
			}
			if f := p.fetchNow(p.a, "manual").GetFault(); f != nil {
				t.Error(f)
			}
			p.arrive()
			p.watched("")
			checkCopies(t, p.sink, p.a, p.seeds[:p.sent], 0)
			if n := p.remote.Sessions(p.a.Username); n.Peak != 1 {
				t.Errorf("the remote server saw up to %d sessions at once", n.Peak)
			}
			reports, err := p.queue.Reports(context.Background(), p.a.UID, 10)
			if err != nil {
				t.Fatal(err)
			}
			pushes := 0
			for _, r := range reports {
				if r.GetTrigger() == mailferryv1.Trigger_TRIGGER_PUSH && r.GetFetched() > 0 {
					pushes++
				}
			}
			if pushes != 4 {
				t.Errorf("%d runs by push fetched the 4 messages that came later", pushes)
			}
		})
	}
}

// TestWatchYieldsToAnotherAccount lets another account run at a mailbox that is watched.
func TestWatchYieldsToAnotherAccount(t *testing.T) {
	t.Parallel()
	p := newPushed(t, "yields", account.Leave)
	other := p.account("other", p.user, account.IMAP, account.Leave)
	p.start("worker")
	p.start("delivery")
	p.trigger(p.a, "first", queue.Scheduled)
	p.watched("")
	p.trigger(other, "other", queue.Scheduled)
	testenv.Eventually(t, 60*time.Second, "the other account has everything", func() bool { return p.done(other, p.sink, p.sent, account.Leave) })
	if n := p.remote.Sessions(p.user); n.Peak != 1 || n.Total != 2 {
		t.Errorf("the remote server saw %d sessions, up to %d at once", n.Total, n.Peak)
	}
}

// TestPushIsRefused polls accounts whose servers do not idle, and says so.
func TestPushIsRefused(t *testing.T) {
	t.Parallel()
	const selects = "S: * 0 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: * OK [UIDNEXT 1] next\n"
	for name, tt := range map[string]struct{ caps, rest, note string }{
		"not offered": {"", "C: T2 LOGOUT\nS: * BYE bye\nS: T2 OK bye\n", "does not offer IDLE"},
		"refused": {" IDLE", "C: T2 EXAMINE INBOX\n" + selects + "S: T2 OK done\nC: T3 IDLE\nS: T3 NO too many watch\nC: T4 LOGOUT\nS: * BYE bye\nS: T4 OK bye\n",
			"too many watch"},
		"cut": {" IDLE", "C: T2 EXAMINE INBOX\n" + selects + "S: T2 OK done\nC: T3 IDLE\nCLOSE\n", "closed the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			acquire(t)
			h, s := newHouse(t, nil), newSink(t)
			h.destination(s.destination())
			script := testenv.NewScript(t, "S: * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\nC? H1 AUTHENTICATE PLAIN \n"+
				"S: H1 OK [CAPABILITY IMAP4rev1"+tt.caps+"] in\nC: T1 EXAMINE INBOX\n"+selects+"S: T1 OK done\n"+tt.rest)
			a := h.add(account.Account{
				Name: "refused", Protocol: account.IMAP, Host: fmt.Sprintf("127.0.0.1:%d", script.Port), TLS: account.Disable, Push: true,
			}, "secret")
			h.start("worker")
			r := h.fetchNow(a, "manual")
			if r.GetFault() != nil || !strings.Contains(strings.Join(r.GetNotes(), ""), tt.note) {
				t.Errorf("fault %v, notes %q", r.GetFault(), r.GetNotes())
			}
			if w := h.counts(a).Watcher; w != "" {
				t.Errorf("%s watches", w)
			}
		})
	}
}

// fetchNow runs the account by a manual job and returns its report.
func (h *house) fetchNow(a account.Account, id string) *mailferryv1.RunReport {
	h.t.Helper()
	done, stop, err := h.queue.FollowProgress(h.t.Context(), a.UID)
	if err != nil {
		h.t.Fatal(err)
	}
	defer stop()
	h.trigger(a, id, queue.Manual)
	limit := time.After(60 * time.Second)
	for {
		select {
		case p := <-done:
			if p.GetJobId() == id && p.GetPhase() == mailferryv1.Phase_PHASE_DONE {
				return p.GetReport()
			}
		case <-limit:
			h.t.Fatal("no end of the run is heard of")
		}
	}
}

// TestWatchIsTakenOver kills the worker that watches, then drains the next one: another takes over each time.
func TestWatchIsTakenOver(t *testing.T) {
	t.Parallel()
	p := newPushed(t, "taken-over", account.Leave)
	p.start("planner")
	p.start("delivery")
	one := p.start("worker")
	first := p.watched("")
	two := p.start("worker")
	one.kill()
	second := p.watched(first)
	p.arrive()
	p.watched(first)
	p.start("worker")
	two.signal(syscall.SIGTERM)
	testenv.Eventually(t, 30*time.Second, "the worker drains", two.ended)
	p.watched(second)
	p.arrive()
	p.watched(second)
	checkCopies(t, p.sink, p.a, p.seeds[:p.sent], 0)
}

// TestKilledOnTheWayToWatch kills the worker between two steps of a run that becomes a watch.
func TestKilledOnTheWayToWatch(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"worker.watching", "worker.before-ack", "worker.watched"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			p := newPushed(t, "killed", account.Leave)
			p.start("planner")
			p.start("delivery")
			victim := p.start("worker", "MAILFERRY_KILL_AT="+at)
			testenv.Eventually(t, 60*time.Second, "the worker is killed", victim.ended)
			first := p.counts(p.a).Watcher
			p.start("worker")
			p.arrive()
			p.watched(first)
			checkCopies(t, p.sink, p.a, p.seeds[:p.sent], 0)
		})
	}
}

// TestWatchEndsWithAnEdit turns push off while the mailbox is watched.
func TestWatchEndsWithAnEdit(t *testing.T) {
	t.Parallel()
	p := newPushed(t, "edited", account.Leave)
	p.start("planner")
	p.start("delivery")
	p.start("worker")
	p.watched("")
	p.a.Push = false
	if _, err := p.book.UpdateAccount(t.Context(), p.a); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 30*time.Second, "nobody watches any more", func() bool { return p.counts(p.a).Watcher == "" && p.idle(p.a) })
}
