package budget

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/redis/go-redis/v9"
)

// Limit bounds what the fleet does at a remote host, at all hosts of a provider, or for a domain (whose runs are the
// sessions, and whose jobs the logins). A zero bounds nothing.
type Limit struct {
	// Name of the host or the provider, and of the address that sessions come from where that is chosen.
	Name string
	// Address is where the session goes, host:port, and by which proxy: only those who go there, too, are kept from it
	// where it does not answer; "" for a domain. Else an account with a wrong port would shut out everybody at its host.
	Address string
	// Sessions at a time, and LoginsPerMinute: at most two above it in any minute, when sessions come in a burst.
	Sessions, LoginsPerMinute int
}

// None says that nothing is bounded.
func (l Limit) None() bool { return l.Sessions <= 0 && l.LoginsPerMinute <= 0 }

// Full says that there is no place now. Who comes again after Wait finds one, or is told so again and keeps its turn, unless
// it was late.
type Full struct {
	Limit Limit
	Wait  time.Duration
}

func (e *Full) Error() string {
	if e.Limit.Address == "" {
		return fmt.Sprintf("%s has all the runs that it may have (at a time %d, a minute %d)", fault.Clean(e.Limit.Name), e.Limit.Sessions, e.Limit.LoginsPerMinute)
	}
	return fmt.Sprintf("the budget of %s is used up (sessions %d, logins a minute %d), or it does not answer", fault.Clean(e.Limit.Name), e.Limit.Sessions, e.Limit.LoginsPerMinute)
}

const (
	// life is how long the place of a worker that died is held.
	life = time.Minute
	// longest bounds the line at one host; who comes later comes again when it is over.
	longest = 100_000
	// mostAway is how long who stands in line stays away at most: there may be room before it is its turn. mostAgain is how
	// long it stays the turn of who finds no room in it, until it comes again.
	mostAway, mostAgain = 5 * time.Minute, 15 * time.Second
	// From shutAfter failures in a row on nobody goes there for shutFor, twice as long each time, up to shutMost.
	shutAfter, shutFor, shutMost = 20, 5 * time.Second, 5 * time.Minute
)

//go:embed enter.lua
var enterLua string

//go:embed keep.lua
var keepLua string

//go:embed leave.lua
var leaveLua string

//go:embed failed.lua
var failedLua string

var enter, keep, leave, failed = redis.NewScript(enterLua), redis.NewScript(keepLua), redis.NewScript(leaveLua), redis.NewScript(failedLua)

func (l Limit) keys() (sessions, line, hash, breaker, domains string) {
	tag := "mf:budget:{" + l.Name + "}:"
	return tag + "sessions", tag + "line", tag + "state", tag + "breaker:" + l.Address, tag + "domains"
}

// Place is the place of one session. It is held until Leave.
type Place struct {
	b     *Budget
	limit Limit
	id    string
	fails int64
	since time.Time
	done  chan struct{}
	kept  sync.WaitGroup
	once  sync.Once
}

// Visitor is who wants a place.
type Visitor struct {
	Account string
	// Domain of the account: those in line take turns.
	Domain string
	// Hurry passes the line, not the limits.
	Hurry bool
}

// Enter takes a place for a session, or returns a [*Full] with the time to come again: then it is the visitor's turn, or,
// where that is minutes away, there may be room all the same. Others of its domain who ask meanwhile wait behind it. Where
// the limit bounds nothing the place is nil, which is fine to leave.
func (b *Budget) Enter(ctx context.Context, l Limit, who Visitor) (*Place, error) {
	if l.None() {
		return nil, nil //nolint:nilnil // nothing is held, and nothing is wrong
	}
	p := &Place{b: b, limit: l, id: rand.Text(), since: time.Now(), done: make(chan struct{})}
	sessions, line, hash, breaker, domains := l.keys()
	reply, err := enter.Run(ctx, b.rdb, []string{sessions, line, hash, breaker, domains},
		p.id, who.Account, life.Milliseconds(), l.Sessions, l.LoginsPerMinute, who.Hurry, longest, who.Domain,
		mostAway.Milliseconds(), mostAgain.Milliseconds()).Int64Slice()
	if err != nil || len(reply) != 2 {
		return nil, fault.Wrap(fault.Unavailable, "budget", err)
	}
	if reply[0] == 0 {
		return nil, &Full{l, time.Duration(reply[1]) * time.Millisecond}
	}
	p.fails = reply[1]
	if l.Sessions > 0 {
		p.kept.Go(p.keep)
	}
	return p, nil
}

// keep holds the place until it is left. Where Redis does not answer it may be given away: better one session too many
// than none.
func (p *Place) keep() {
	sessions, _, _, _, _ := p.limit.keys()
	tick := time.NewTicker(life / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			ctx, cancel := context.WithTimeout(context.Background(), life/6)
			_ = keep.Run(ctx, p.b.rdb, []string{sessions}, p.id, life.Milliseconds()).Err()
			cancel()
		case <-p.done:
			return
		}
	}
}

// Dialed says whether the host took the connection. One that does not, again and again, is left alone for a while: then a
// single session finds out whether it is back.
func (p *Place) Dialed(ctx context.Context, ok bool) {
	if p == nil || ok && p.fails == 0 {
		return
	}
	_, _, _, breaker, _ := p.limit.keys()
	if ok {
		_ = p.b.rdb.HDel(ctx, breaker, "fails", "shut").Err()
		return
	}
	_ = failed.Run(ctx, p.b.rdb, []string{breaker}, shutAfter, shutFor.Milliseconds(), shutMost.Milliseconds()).Err()
}

// Leave gives the place back, once.
func (p *Place) Leave() {
	if p == nil {
		return
	}
	p.once.Do(func() {
		close(p.done)
		p.kept.Wait()
		if p.limit.Sessions <= 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), life/6)
		defer cancel()
		sessions, _, hash, _, _ := p.limit.keys()
		_ = leave.Run(ctx, p.b.rdb, []string{sessions, hash}, p.id, time.Since(p.since).Milliseconds()).Err() // else it lapses
	})
}
