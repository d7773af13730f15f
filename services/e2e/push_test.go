package e2e

import (
	"context"
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
			done, stop, err := p.queue.FollowProgress(t.Context(), p.a.UID)
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			p.trigger(p.a, "manual", queue.Manual)
			for pr := range done {
				if pr.GetJobId() == "manual" && pr.GetPhase() == mailferryv1.Phase_PHASE_DONE {
					if f := pr.GetReport().GetFault(); f != nil {
						t.Error(f)
					}
					break
				}
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
