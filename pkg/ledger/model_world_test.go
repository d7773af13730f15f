package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"time"
)

// The model: two workers and two deliveries run the real scripts, step by step, in an order that a seed
// decides. TRANSIT, the remote mailbox and the destination are small maps. Between any two steps an actor may
// crash or sleep past every lease, messages may be lost or come twice, the index may be reset, moved or lost.

const modelAckWait = 30 * time.Second

// letter is a message of the remote mailbox.
type letter struct {
	id        int
	key       Key
	size      int64
	present   bool
	withdrawn bool // deleted by its owner
	deleted   bool // deleted by us
	// excused accounts were not active when it was deleted.
	excused map[string]bool
}

// parcel is a letter in TRANSIT.
type parcel struct {
	account, epoch string
	slot           Slot
	letter         *letter
	visible        time.Time
	acked          bool
}

func (p *parcel) subject() string { return p.account + "/" + p.epoch + "/" + string(p.letter.key) }

// acceptKey is what must not be accepted twice: by account, epoch, letter and recipient, and by how often
// Redis lost its data.
type acceptKey struct {
	account, epoch, rcpt string
	letter, losses       int
}

// attempt is one hand-over by a delivery.
type attempt struct {
	taken    int // the step of Take
	takenAt  time.Time
	lease    *Lease
	excuse   string // why its outcome may not be recorded
	recorded int    // the step at which it was, 0 if not yet
}

type world struct {
	*house
	seed    uint64
	rnd     *rand.Rand
	ctx     context.Context
	imap    bool
	lies    bool
	remove  map[string]bool // accounts that delete
	names   []string
	active  map[string]bool
	letters []*letter
	transit map[string]*parcel
	dead    map[string]*parcel
	accepts map[acceptKey]*attempt
	got     map[string]map[int]bool // account → letters of which each recipient has a copy
	copies  map[string]int          // account/letter/recipient → copies, over all epochs
	losses  int
	lossAt  time.Time // of the last loss of Redis
	step    int
	serial  int
	actors  []*actor
	count   map[string]int
	calm    bool
	chaos   float64 // how much more often faults happen
	rebuild bool    // Redis lost its data, the directory has not yet put the accounts back
	began   time.Time
	story   []string
	err     error
	admin   *Ledger
	failing *countdown
}

var recipients = []string{"bob", "eve"}

func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("MODEL_SEED=%d, step %d: "+format, append([]any{w.seed, w.step}, args...)...)
		w.trace("FAILED: %v", w.err)
	}
}

func (w *world) chance(percent float64) bool { return !w.calm && w.rnd.Float64()*100 < percent }

func (w *world) note(what string) {
	w.count[what]++
	w.trace("%s", what)
}

// trace remembers the last events of the world.
func (w *world) trace(format string, args ...any) {
	if keep := envInt("MODEL_STORY", 100); len(w.story) >= 2*keep {
		w.story = slices.Delete(w.story, 0, keep)
	}
	at := w.now().Sub(w.began).Round(time.Millisecond)
	w.story = append(w.story, fmt.Sprintf("%5d %v %s", w.step, at, fmt.Sprintf(format, args...)))
}

// actor is a process: a coroutine that stops at every step.
type actor struct {
	w     *world
	name  string
	body  func(*actor)
	next  func() (string, bool)
	stop  func()
	yield func(string) bool
	wake  time.Time
	at    string
	hold  *Hold
	try   *attempt
}

type crashed struct{}

// pause is a step: whatever the seed wants happens before it returns.
func (a *actor) pause(at string) {
	if !a.yield(at) {
		panic(crashed{})
	}
	if a.hold != nil && a.w.rnd.IntN(3) > 0 && a.hold.left() < a.hold.l.cfg.TTL/2 {
		_ = a.hold.renew(a.w.ctx)
	}
}

func (a *actor) seq() iter.Seq[string] {
	return func(yield func(string) bool) {
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(crashed); !ok {
					panic(r)
				}
			}
		}()
		a.yield = yield
		a.body(a)
	}
}

// advance lets the actor do one step, starting it if it does not run. It returns false when it has ended.
func (a *actor) advance() bool {
	if a.next == nil {
		a.next, a.stop = iter.Pull(a.seq())
	}
	at, ok := a.next()
	a.at = at
	a.w.trace("%s: %s", a.name, at)
	if !ok {
		a.end()
	}
	return ok
}

func (a *actor) end() {
	if a.hold != nil {
		a.hold.alarm.Stop()
	}
	a.next, a.stop, a.hold, a.try, a.at, a.wake = nil, nil, nil, nil, "", time.Time{}
}

// crash is kill -9: nothing is released.
func (a *actor) crash() {
	if a.next == nil {
		return
	}
	a.w.note("crash at " + a.at)
	if a.try != nil && a.try.excuse == "" {
		a.try.excuse = "crash"
	}
	a.stop()
	a.end()
}

func (w *world) now() time.Time { return w.clock() }

func (w *world) arrive() {
	w.serial++
	l := &letter{id: w.serial, size: int64(1000 + w.serial), present: true, excused: make(map[string]bool)}
	l.key = w.keyer.UniqueID(fmt.Sprint("u", w.serial))
	if w.imap {
		l.key = w.keyer.IMAP([]string{"INBOX", "Spam"}[w.serial%2], 7, uint32(w.serial))
	} else if gone := w.reusable(); gone != nil && w.chance(30) {
		l.key = gone.key
		w.note("unique-id used again")
	}
	w.letters = append(w.letters, l)
	w.trace("letter %d arrives as %s", l.id, l.key)
}

// reusable is a letter that we deleted and whose unique-id no other has.
func (w *world) reusable() *letter {
	var found *letter
	for _, l := range w.letters {
		if l.deleted && !w.named(l.key) {
			found = l
		}
	}
	return found
}

func (w *world) named(k Key) bool {
	return slices.ContainsFunc(w.letters, func(l *letter) bool { return l.present && l.key == k })
}

// publish is TRANSIT: one message a subject.
func (w *world) publish(p *parcel) (held bool) {
	if _, there := w.transit[p.subject()]; there {
		return true
	}
	p.visible, p.acked = w.now(), false
	w.transit[p.subject()] = p
	return false
}

func (w *world) held(account string) map[Key]bool {
	keys := make(map[Key]bool)
	for _, p := range w.transit {
		if p.account == account {
			keys[p.letter.key] = true
		}
	}
	return keys
}

func (w *world) sorted() []*parcel {
	var all []*parcel
	for _, p := range w.transit {
		all = append(all, p)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].subject() < all[j].subject() })
	return all
}

// pull gives out a message whose AckWait is over.
func (w *world) pull() *parcel {
	var ready []*parcel
	for _, p := range w.sorted() {
		if !p.visible.After(w.now()) {
			ready = append(ready, p)
		}
	}
	if len(ready) == 0 {
		return nil
	}
	p := ready[w.rnd.IntN(len(ready))]
	p.visible = w.now().Add(modelAckWait)
	return p
}

// ack removes the message, unless the server forgets it.
func (w *world) ack(p *parcel) {
	if w.chance(10) {
		w.note("ack forgotten")
		p.visible = w.now().Add(time.Duration(w.rnd.IntN(600)) * time.Second)
		return
	}
	if w.transit[p.subject()] == p {
		delete(w.transit, p.subject())
	}
}

// accept is the destination: it has the letter now.
func (w *world) accept(a *actor, p *parcel, rcpt string) {
	try := a.try
	k := acceptKey{p.account, try.lease.Epoch, rcpt, p.letter.id, w.losses}
	w.trace("%s: %s accepts letter %d of %s, lease %s", a.name, rcpt, p.letter.id, p.account, try.lease.Epoch)
	w.copies[fmt.Sprint(p.account, "/", p.letter.id, "/", rcpt)]++
	if w.got[p.account] == nil {
		w.got[p.account] = make(map[int]bool)
	}
	served := func(r string) bool { return w.copies[fmt.Sprint(p.account, "/", p.letter.id, "/", r)] > 0 }
	w.got[p.account][p.letter.id] = served(recipients[0]) && served(recipients[1])
	prev := w.accepts[k]
	w.accepts[k] = try
	if prev == nil || prev == try {
		return
	}
	switch {
	case prev.recorded != 0 && try.taken > prev.recorded:
		w.fail("letter %d of %s was accepted for %s again, %d steps after its outcome was recorded", p.letter.id,
			p.account, rcpt, w.step-prev.recorded)
	case prev.excuse != "":
		w.note("copy: " + prev.excuse)
	case prev.taken < try.taken && !w.ends(prev).After(try.takenAt), try.taken < prev.taken && !w.ends(try).After(prev.takenAt):
		w.note("copy: stalled past the lease")
	default:
		w.fail("letter %d of %s was accepted for %s under two live leases", p.letter.id, p.account, rcpt)
	}
}

// ends is when an attempt's lease ends.
func (w *world) ends(t *attempt) time.Time { return w.now().Add(t.lease.Left()) }

// remove deletes a letter at the remote.
func (w *world) removeLetter(l *letter, active []string) {
	if !l.present {
		return
	}
	for _, a := range w.names {
		if !slices.Contains(active, a) {
			l.excused[a] = true
		} else if !w.got[a][l.id] {
			w.fail("letter %d was deleted before %s has it", l.id, a)
		}
	}
	l.present, l.deleted = false, true
	w.note("deleted")
	w.trace("letter %d, %s", l.id, l.key)
}

func (w *world) actives() []string {
	var out []string
	for _, a := range w.names {
		if w.active[a] {
			out = append(out, a)
		}
	}
	return out
}

// expected says that an error is how a run may end.
func expected(err error) bool {
	var busy *BusyError
	var moved *MovedError
	return errors.Is(err, ErrStale) || errors.Is(err, ErrUntrusted) || errors.Is(err, ErrLeaseLost) ||
		errors.As(err, &busy) || errors.As(err, &moved)
}

func (w *world) summary() string {
	var words []string
	for k, n := range w.count {
		words = append(words, fmt.Sprintf("%s %d", k, n))
	}
	sort.Strings(words)
	return strings.Join(words, ", ")
}
