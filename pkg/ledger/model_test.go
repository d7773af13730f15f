package ledger

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// countdown fails every script from the n-th on, while n is not negative.
type countdown struct {
	redis.UniversalClient
	left atomic.Int64
}

func (c *countdown) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if c.left.Add(-1) < 0 {
		cmd := redis.NewCmd(ctx)
		cmd.SetErr(os.ErrDeadlineExceeded)
		return cmd
	}
	return c.UniversalClient.EvalSha(ctx, sha, keys, args...)
}

// stutter sends some scripts twice and returns the second answer, as a client does whose connection broke.
type stutter struct {
	redis.UniversalClient
	twice func() bool
}

func (s *stutter) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if s.twice() {
		_ = s.UniversalClient.EvalSha(ctx, sha, keys, args...).Err()
	}
	return s.UniversalClient.EvalSha(ctx, sha, keys, args...)
}

// newWorld makes a world whose every choice follows from seed.
func newWorld(h *house, seed uint64) *world {
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := &world{house: h, seed: seed, rnd: rnd, ctx: context.Background(), imap: rnd.IntN(4) == 0,
		remove: make(map[string]bool), active: make(map[string]bool), transit: make(map[string]*parcel),
		dead: make(map[string]*parcel), accepts: make(map[acceptKey]*attempt), got: make(map[string]map[int]bool),
		copies: make(map[string]int), count: make(map[string]int)}
	w.slot = Slot(fmt.Sprintf("w%d", seed))
	w.names = []string{"a1", "a2"}[:1+rnd.IntN(2)]
	for _, a := range w.names {
		w.active[a] = true
		w.remove[a] = rnd.IntN(3) > 0
		h.ok(h.Enroll(w.ctx, w.slot, a))
	}
	w.chaos = []float64{0.3, 1, 3}[rnd.IntN(3)]
	w.lies = !w.remove["a1"] && !w.remove["a2"]
	w.cfg.MaxAttempts = []int{2, 4, 30}[rnd.IntN(3)]
	for i, body := range []func(*actor){runWorker, runWorker, runDelivery, runDelivery} {
		w.actors = append(w.actors, &actor{w: w, name: fmt.Sprintf("p%d", i), body: body})
	}
	h.rdb = &stutter{UniversalClient: h.env.Client, twice: func() bool { return w.chance(3) }}
	w.failing = &countdown{UniversalClient: h.env.Client}
	w.admin = New(w.failing, h.cfg)
	w.began = w.now()
	for range 5 {
		w.arrive()
	}
	return w
}

// play lets the seed choose events for that many steps of actors, then lets everything come to rest.
func (w *world) play(steps int) error {
	defer func() {
		for _, a := range w.actors {
			if a.next != nil {
				a.stop()
				a.end()
			}
		}
	}()
	for end := w.step + steps; w.step < end && w.err == nil; {
		w.event()
	}
	if w.err == nil {
		w.rest()
	}
	return w.err
}

func (w *world) event() {
	if w.rebuild && w.rnd.IntN(100) == 0 {
		w.enrollAll()
	}
	switch n := w.rnd.Float64() * (93 + 7*w.chaos); {
	case n < 87:
		w.schedule()
	case n < 91:
		w.pass(time.Duration(w.rnd.IntN(8000)) * time.Millisecond)
	case n < 93:
		w.arrive()
	case n < 93+1.5*w.chaos:
		a := w.actors[w.rnd.IntN(len(w.actors))]
		a.wake = w.now().Add(w.cfg.TTL * time.Duration(1+w.rnd.IntN(3)))
		w.note("sleep")
	case n < 93+4*w.chaos:
		w.actors[w.rnd.IntN(len(w.actors))].crash()
	default:
		w.fault()
	}
}

// schedule lets an actor that is awake do a step; when all sleep, time passes.
func (w *world) schedule() {
	a := w.actors[w.rnd.IntN(len(w.actors))]
	if a.wake.After(w.now()) {
		w.pass(time.Duration(w.rnd.IntN(3000)) * time.Millisecond)
		return
	}
	w.step++
	a.advance()
	w.sessions()
	if w.step%20 == 0 {
		w.sound(w.names[w.rnd.IntN(len(w.names))])
	}
}

func (w *world) fault() {
	account := w.names[w.rnd.IntN(len(w.names))]
	switch n := w.rnd.IntN(100); {
	case n < 15:
		w.note("TRANSIT emptied")
		clear(w.transit)
	case n < 35:
		if all := w.sorted(); len(all) > 0 {
			w.note("message lost in TRANSIT")
			delete(w.transit, all[w.rnd.IntN(len(all))].subject())
		}
	case n < 40:
		w.reset(account)
	case n < 44:
		w.lose()
	case n < 60:
		w.ownerDeletes()
	case n < 85:
		w.retryDead()
	case n < 95:
		w.move()
	default:
		w.toggle(account)
	}
}

func (w *world) reset(account string) {
	w.note("reset")
	w.serial++
	_, err := w.Reset(w.ctx, w.slot, account, fmt.Sprint("e", w.serial))
	w.check(err)
}

// lose is Redis that lost its data; the directory puts the accounts back.
func (w *world) lose() {
	w.note("Redis lost its data")
	keys, err := w.rdb.Keys(w.ctx, fmt.Sprintf("mf:{w%d*", w.seed)).Result()
	w.ok(err)
	if len(keys) > 0 {
		w.ok(w.rdb.Del(w.ctx, keys...).Err())
	}
	w.losses++
	w.lossAt = w.now()
	w.rebuild = true
}

func (w *world) enrollAll() {
	w.rebuild = false
	for _, a := range w.actives() {
		w.ok(w.Enroll(w.ctx, w.slot, a))
	}
}

func (w *world) ownerDeletes() {
	l := w.letters[w.rnd.IntN(len(w.letters))]
	if l.present && w.rnd.IntN(4) == 0 {
		l.present, l.withdrawn = false, true
	}
}

// retryDead is dead retry: parked to marked, then published again; sometimes the body is gone.
func (w *world) retryDead() {
	ids := slices.Sorted(maps.Keys(w.dead))
	if len(ids) == 0 {
		return
	}
	id := ids[w.rnd.IntN(len(ids))]
	p := w.dead[id]
	if w.rnd.IntN(5) == 0 {
		res, err := w.Unpark(w.ctx, w.slot, p.account, p.letter.key)
		w.check(err)
		w.note("unpark: " + string(res))
		delete(w.dead, id)
		return
	}
	res, err := w.Retry(w.ctx, w.slot, p.account, p.letter.key, p.letter.size, p.letter.size)
	w.check(err)
	w.note("retry: " + string(res))
	if res == RetryInFlight {
		return
	}
	delete(w.dead, id)
	if res == RetryMarked && w.rnd.IntN(5) > 0 {
		w.publish(&parcel{account: p.account, epoch: p.epoch, slot: w.slot, letter: p.letter})
	}
}

// move takes the only account of a mailbox to another slot; it may break off in the middle.
func (w *world) move() {
	if len(w.names) > 1 {
		return
	}
	to := Slot(fmt.Sprintf("w%d-%d", w.seed, w.rnd.IntN(2)))
	if to == w.slot {
		return
	}
	w.failing.left.Store(int64(w.rnd.IntN(4)))
	w.admin.offset.Store(w.offset.Load())
	w.trace("move %s to %s", w.slot, to)
	defer w.whereabouts()
	err := w.admin.Copy(w.ctx, w.slot, to, "a1")
	if err != nil && w.rnd.IntN(2) == 0 {
		err = w.Copy(w.ctx, w.slot, to, "a1")
		w.check(err)
	}
	if err != nil {
		w.note("move broken off")
		return
	}
	w.note("moved")
	w.slot = to
	if w.rebuild {
		return
	}
	w.ok(w.rdb.HSet(w.ctx, to.accountsKey(), "a1", map[bool]string{true: "1", false: "0"}[w.active["a1"]]).Err())
}

// whereabouts tells the story where the account has data and signposts.
func (w *world) whereabouts() {
	for _, s := range []string{"", "-0", "-1"} {
		at, err := w.site(w.ctx, Slot(fmt.Sprintf("w%d%s", w.seed, s)), "a1")
		w.trace("%+v %v", at, err)
	}
}

func (w *world) toggle(account string) {
	if len(w.names) == 1 {
		return
	}
	w.active[account] = !w.active[account]
	if w.active[account] {
		w.ok(w.Enroll(w.ctx, w.slot, account))
	} else {
		w.ok(w.Withdraw(w.ctx, w.slot, account))
	}
}

// rest ends all faults, and then everything must come to its end within a few rounds.
func (w *world) rest() {
	w.calm = true
	for _, a := range w.names {
		w.active[a] = true
	}
	w.enrollAll()
	for range 8 {
		w.pass(10 * time.Minute)
		for _, a := range w.actors {
			a.wake = time.Time{}
			for n := 0; n < 500 && a.next != nil && w.err == nil; n++ {
				w.step++
				a.advance()
			}
		}
		for _, account := range w.names {
			w.drain(account)
		}
	}
	for _, a := range w.actors {
		if a.next != nil {
			w.fail("%s does not end, at %s", a.name, a.at)
		}
	}
	w.settled()
}

// drain runs a worker for the account, then deliveries until TRANSIT has nothing to give.
func (w *world) drain(account string) {
	w.through(func(a *actor) { a.collect(account) })
	for range 2000 {
		w.through(runDelivery)
		if ready := slices.ContainsFunc(w.sorted(), func(p *parcel) bool { return !p.visible.After(w.now()) }); !ready || w.err != nil {
			return
		}
	}
	w.fail("TRANSIT does not run dry: %d messages", len(w.transit))
}

// through lets an actor of its own do all its steps.
func (w *world) through(body func(*actor)) {
	a := &actor{w: w, name: "rest", body: body}
	for w.err == nil && a.advance() {
		w.step++
	}
	a.crash()
}

// settled checks that nothing is stuck and nothing lost.
func (w *world) settled() {
	if len(w.transit) > 0 && w.err == nil {
		w.fail("%d messages are left in TRANSIT", len(w.transit))
	}
	for _, account := range w.names {
		ix := w.peek(account)
		w.sound(account)
		for _, l := range w.letters {
			st := ix.State(l.key)
			if st == StateDeleting && !w.named(l.key) {
				w.fail("letter %d is gone and still deleting for %s", l.id, account)
			}
			switch {
			case l.withdrawn || l.excused[account]:
			case l.present && st != StateCollected && st != StateDeleting && st != StateParked:
				m, _ := ix.Mark(l.key)
				w.fail("letter %d of %s is stuck: %v, mark %q", l.id, account, st, m.Raw)
			case st == StateParked && l.present:
			case !w.got[account][l.id]:
				w.fail("letter %d was lost for %s (%v)", l.id, account, st)
			}
		}
	}
}

// explore plays worlds of about 1,500 steps until that many steps are done or a world fails.
func explore(h *house, seed uint64, steps int, count map[string]int) (done int, err error) {
	h.mutate("local LOAD, TAIL, MANY, ENTRY = 128, 128, 32, 11", "local LOAD, TAIL, MANY, ENTRY = 4, 3, 2, 11")
	for ; done < steps; seed++ {
		w := newWorld(h, seed)
		err := w.play(1200)
		done += w.step
		for k, n := range w.count {
			count[k] += n
		}
		if keys, kerr := h.rdb.Keys(w.ctx, "mf:{w*").Result(); kerr == nil && len(keys) > 0 {
			h.rdb.Del(w.ctx, keys...)
		}
		if err != nil {
			return done, fmt.Errorf("%w\n%s", err, strings.Join(w.story, "\n"))
		}
	}
	return done, nil
}

func envInt(name string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return def
}

// TestModel plays at least 100,000 steps (fewer under the race detector). MODEL_SEED and MODEL_STEPS replay and lengthen it.
func TestModel(t *testing.T) {
	t.Parallel()
	seed := uint64(envInt("MODEL_SEED", int(time.Now().UnixNano()%1_000_000_000)))
	t.Logf("MODEL_SEED=%d", seed)
	count := make(map[string]int)
	began := time.Now()
	steps, err := explore(newHouse(t, Config{}), seed, envInt("MODEL_STEPS", modelSteps), count)
	t.Logf("%d steps in %v: %s", steps, time.Since(began).Round(time.Second), (&world{count: count}).summary())
	if err != nil {
		t.Fatal(err)
	}
	need := []string{"copy: crash", "copy: answer lost", "copy: stalled past the lease", "deleted", "moved",
		"move broken off", "reset", "retry: marked", "take: busy", "take: repeat", "take: no-epoch"}
	if steps >= 1_000_000 { // these are rare
		need = append(need, "poison", "mark: changed")
	}
	for _, what := range need {
		if count[what] == 0 && steps >= 100_000 {
			t.Errorf("it never came to %q", what)
		}
	}
}
