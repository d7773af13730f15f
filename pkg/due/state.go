package due

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Status is what an account is, in a word.
type Status string

// The states of an account.
const (
	// OK: the last run that counts ended well, or none has ended yet.
	OK Status = "ok"
	// Failing: its runs fail, for the reason that [State] has, since then.
	Failing Status = "failing"
	// Throttled: its server wants it to wait.
	Throttled Status = "throttled"
	// Suspended: it is not active.
	Suspended Status = "suspended"
	// ConsentNeeded: its owner has to sign in at the provider.
	ConsentNeeded Status = "consent-needed"
	// OverQuota: a mailbox, here or there, is over its limit.
	OverQuota Status = "over-quota"
)

// Statuses are all there are.
func Statuses() []Status {
	return []Status{OK, Failing, Throttled, Suspended, ConsentNeeded, OverQuota}
}

// waits are the faults for which an account is not just failing.
var waits = map[fault.Kind]Status{
	fault.Throttled: Throttled, fault.ConsentNeeded: ConsentNeeded, fault.RemoteQuota: OverQuota, fault.DestinationQuota: OverQuota,
}

// Status returns what the account is.
func (e Entry) Status() Status {
	if !e.Active {
		return Suspended
	}
	if s, ok := waits[e.Kind]; ok && !e.NotBefore.IsZero() { // an edit forgives
		return s
	}
	if e.Failures > 0 {
		return Failing
	}
	return OK
}

// waitsLua is waits for the scripts.
func waitsLua() string {
	var rows []string
	for k, s := range waits {
		rows = append(rows, fmt.Sprintf("['%d']='%s'", k, s))
	}
	slices.Sort(rows) // the same script each time
	return "local waits = {" + strings.Join(rows, ",") + "}\n"
}

// Count returns how many accounts of the shards there are in each state.
func (x *Index) Count(ctx context.Context, shards []int) (map[Status]int, error) {
	p := x.rdb.Pipeline()
	var cmds []*redis.MapStringStringCmd
	for _, s := range shards {
		cmds = append(cmds, p.HGetAll(ctx, keys(s)[5]))
	}
	_, err := p.Exec(ctx)
	out := map[Status]int{}
	for _, c := range cmds {
		for s, n := range c.Val() {
			v, perr := strconv.Atoi(n)
			out[Status(s)] += v
			err = errors.Join(err, perr)
		}
	}
	return out, fault.Wrap(fault.Internal, "due count", err)
}
