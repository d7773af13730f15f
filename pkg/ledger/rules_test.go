package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// A rule is a promise of the scripts in a few lines; it returns what it finds broken. Mutants name the rule
// that must notice them.
type rule func(h *house) error

// finding is what a rule finds broken.
type finding string

func (f finding) Error() string { return string(f) }

func broken(format string, args ...any) error { return finding(fmt.Sprintf(format, args...)) }

// is returns an error unless got is want.
func is[T comparable](what string, got, want T) error {
	if got != want {
		return broken("%s: %v, want %v", what, got, want)
	}
	return nil
}

// isErr returns an error unless err is target.
func isErr(what string, err, target error) error {
	if !errors.Is(err, target) {
		return broken("%s: %v, want %v", what, err, target)
	}
	return nil
}

func TestRules(t *testing.T) {
	t.Parallel()
	for name, r := range rules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := r(newHouse(t, Config{MaxAttempts: 3})); err != nil {
				t.Fatal(err)
			}
		})
	}
}

var ctx = context.Background()

var rules = map[string]rule{
	"a mailbox is known to be quiet":             quietKept,
	"what is new is not quiet":                   quietDropped,
	"a listing says nothing of other mailboxes":  seenInPart,
	"a mark is refused for what is not new":      markRefused,
	"a mark is refused under a live lease":       markLeased,
	"a mark is refused if it changed":            markChanged,
	"digests are kept in a ring":                 digestsKept,
	"digests are known to be whole":              digestsWhole,
	"a storm is remembered":                      stormRemembered,
	"match takes over":                           matchTakesOver,
	"what we deleted ourselves is no storm":      oursIsNoStorm,
	"what is doubted is never deleted":           doubtIsSkipped,
	"attempts are counted":                       attemptsCounted,
	"unmark gives back":                          unmarkGivesBack,
	"skip passes over what is new":               skipNew,
	"take drops repeats":                         takeRepeats,
	"a lease is for one":                         leaseForOne,
	"deliveries that die are counted":            takesCounted,
	"served recipients survive":                  servedSurvive,
	"served recipients are of one message":       servedOfOneMessage,
	"commit needs nothing":                       commitNeedsNothing,
	"commit leaves another message alone":        commitOtherMessage,
	"pass skips as commit collects":              passSkips,
	"commit writes its own epoch":                commitEpoch,
	"commit writes its own UIDVALIDITY":          commitValidity,
	"doom asks every active account":             doomEverybody,
	"doom asks the enrolled":                     doomEnrolled,
	"a deleting key is forgotten when gone":      seenGone,
	"a deleting key of another size is new":      seenOtherSize,
	"a vanished key leaves slowly":               seenVanished,
	"a unique-id is used again":                  reusedIsNew,
	"a deferred key is new in time":              deferredInTime,
	"a run need not wait for what is deferred":   resumeDeferred,
	"dead letters are tried again":               retryParked,
	"a reset forgets":                            resetForgets,
	"a move takes everything":                    moveTakesAll,
	"a move that broke off waits":                moveBrokenOff,
	"an empty move that was broken off":          emptyMoveBrokenOff,
	"an erased account is gone":                  eraseIsGone,
	"another installation key is refused":        wrongKeyRefused,
	"counts are right":                           countsAreRight,
	"a run that may not write is refused":        staleRefused,
	"starts are counted":                         startsCounted,
	"a watcher yields":                           watcherYields,
	"the account that waits longest is next":     waitersInOrder,
	"a run of the same account sets again":       againIsSet,
	"a test only looks":                          testLooks,
	"a lock of the account alone leaves room":    locksOfAccounts,
	"a lock run out takes its flag along":        flagRunsOut,
	"a stale release frees nothing":              staleRelease,
	"scripts may be sent twice":                  sentTwice,
	"batches are cut":                            batchesAreCut,
	"a fold keeps what was put last":             foldKeepsLast,
	"a mark that cannot be read is written over": damagedMark,
}

// park brings a key into DEAD.
func (h *house) park(account string, k Key) {
	h.t.Helper()
	h.ok(h.Park(ctx, h.deliver(account, k)))
}

// collect brings keys into the index as deliveries do.
func (h *house) collect(account string, keys ...Key) {
	h.t.Helper()
	for _, k := range keys {
		h.commit(h.deliver(account, k))
	}
}

func markRefused(h *house) error {
	hold := h.open("a1", "e1")
	h.collect("a1", h.uid(1))
	h.ok(hold.Skip(ctx, []Item{{Key: h.uid(2), Listed: 1}}))
	h.park("a1", h.uid(3))
	h.ok(h.Defer(ctx, h.deliver("a1", h.uid(4)), time.Minute))
	h.mark(hold, h.uid(5), 10)
	var reqs []MarkRequest
	for i := 1; i <= 6; i++ {
		m, _ := hold.Index().Mark(h.uid(i))
		reqs = append(reqs, MarkRequest{Key: h.uid(i), Size: 10, Listed: 10, Seen: m.Raw})
	}
	got, err := hold.Mark(ctx, reqs)
	h.ok(err)
	want := []MarkResult{Collected, Skipped, Parked, Deferred, Changed, Marked}
	if !slices.Equal(got, want) {
		return broken("%v, want %v", got, want)
	}
	for i, s := range []State{StateCollected, StateSkipped, StateParked, StateDeferred, StateNew, StateNew} {
		if err := is(fmt.Sprint("state of ", i+1), h.state(hold, h.uid(i+1)), s); err != nil {
			return err
		}
	}
	return nil
}

func markLeased(h *house) error {
	hold := h.open("a1", "e1")
	h.mark(hold, h.uid(1), 10)
	h.deliver("a1", h.uid(1))
	if err := is("under a lease", h.mark(hold, h.uid(1), 10), Leased); err != nil {
		return err
	}
	h.pass(h.cfg.DeliveryLease / 2)
	h.ok(hold.renew(ctx))
	h.pass(h.cfg.DeliveryLease/2 + time.Second)
	return is("after the lease", h.mark(hold, h.uid(1), 10), Marked)
}

func markChanged(h *house) error {
	hold := h.open("a1", "e1")
	h.mark(hold, h.uid(1), 10)
	ix, err := hold.Reload(ctx)
	h.ok(err)
	m, _ := ix.Mark(h.uid(1))
	h.ok(h.Return(ctx, h.deliver("a1", h.uid(1))))
	res, err := hold.Mark(ctx, []MarkRequest{{Key: h.uid(1), Size: 10, Listed: 10, Seen: m.Raw}})
	h.ok(err)
	return is("a delivery had it meanwhile", res[0], Changed)
}

func attemptsCounted(h *house) error {
	hold := h.open("a1", "e1")
	for i := range 3 {
		if err := is("attempt", h.mark(hold, h.uid(1), 10), Marked); err != nil {
			return err
		}
		m, _ := hold.Index().Mark(h.uid(1))
		if err := is("attempts read", m.Attempts, i); err != nil {
			return err
		}
	}
	if err := is("one too many", h.mark(hold, h.uid(1), 10), TooMany); err != nil {
		return err
	}
	return is("state", h.state(hold, h.uid(1)), StateParked)
}

func unmarkGivesBack(h *house) error {
	hold := h.open("a1", "e1")
	for range 5 {
		if err := is("never too many", h.mark(hold, h.uid(1), 10), Marked); err != nil {
			return err
		}
		h.ok(hold.Unmark(ctx, []Key{h.uid(1)}))
	}
	if _, marked := h.reload(hold).Mark(h.uid(1)); marked {
		return errors.New("still marked")
	}
	h.mark(hold, h.uid(2), 10)
	h.mark(hold, h.uid(2), 10) // the first fetch died
	h.ok(hold.Unmark(ctx, []Key{h.uid(2)}))
	twice, _ := h.reload(hold).Mark(h.uid(2))
	if err := is("attempts that died", twice.Attempts, 1); err != nil {
		return err
	}
	le := h.deliver("a1", h.uid(1))
	h.ok(hold.Unmark(ctx, []Key{h.uid(1)}))
	if err := h.Renew(ctx, le); err != nil {
		return fmt.Errorf("unmark took a lease: %w", err)
	}
	h.ok(h.Record(ctx, le, nil, []string{"bob"}))
	h.ok(h.Return(ctx, le))
	h.ok(hold.Unmark(ctx, []Key{h.uid(1)}))
	m, _ := h.reload(hold).Mark(h.uid(1))
	return is("served after unmark", fmt.Sprint(m.Served), "[bob]")
}

func (h *house) reload(hold *Hold) *Index {
	h.t.Helper()
	ix, err := hold.Reload(ctx)
	h.ok(err)
	return ix
}

func skipNew(h *house) error {
	hold := h.open("a1", "e1")
	h.collect("a1", h.uid(1))
	h.mark(hold, h.uid(2), 10)
	h.park("a1", h.uid(3))
	h.ok(hold.Skip(ctx, []Item{{h.uid(1), 1}, {h.uid(2), 1}, {h.uid(3), 1}, {h.uid(4), 1}}))
	for i, s := range []State{StateCollected, StateNew, StateParked, StateSkipped} {
		if err := is(fmt.Sprint("state of ", i+1), h.state(hold, h.uid(i+1)), s); err != nil {
			return err
		}
	}
	return is("take", h.take("a1", h.uid(4)).Verdict, Repeat)
}
