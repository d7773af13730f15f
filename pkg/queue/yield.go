package queue

import (
	"context"
	"sync"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/nats-io/nats.go"
)

// maxAsks is how many requests a watcher answers; those that come on top hear nothing and try again.
const maxAsks = 16

func yieldSubject(account string) string { return "ferry.v1.yield." + account }

// Yield asks whoever watches a remote mailbox for the account to give it up, and returns once that is done. by is the
// account that wants it, "" where it is to be watched again soon. It is a word only: nobody may hear of it.
func (q *Queue) Yield(ctx context.Context, account, by string) error {
	err := checkUID(account)
	if err == nil {
		_, err = q.nc.RequestWithContext(ctx, yieldSubject(account), []byte(by))
	}
	return fault.Wrap(fault.InUse, "yield", err)
}

// TellChanged is Yield for an account that was changed; it waits for nothing.
func (q *Queue) TellChanged(account string) error {
	err := checkUID(account)
	if err == nil {
		err = q.nc.Publish(yieldSubject(account), nil)
	}
	return fault.Wrap(fault.Internal, "yield", err)
}

// OnYield calls asked, which must not block, when the remote mailbox that is watched for the account is wanted: by
// whom, "" where it is to be watched again soon, or the account was changed. The function it returns says that the mailbox was given up; it must be called.
func (q *Queue) OnYield(account string, asked func(by string)) (given func(), err error) {
	if err := checkUID(account); err != nil {
		return nil, fault.New(fault.Internal, "yield", err)
	}
	var mu sync.Mutex
	var asks []*nats.Msg
	sub, err := q.nc.Subscribe(yieldSubject(account), func(m *nats.Msg) {
		mu.Lock()
		if len(asks) < maxAsks {
			asks = append(asks, m)
		}
		mu.Unlock()
		asked(string(m.Data))
	})
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "yield", err)
	}
	return func() {
		_ = sub.Unsubscribe()
		mu.Lock()
		defer mu.Unlock()
		for _, m := range asks {
			if m.Reply != "" {
				_ = m.Respond(nil)
			}
		}
	}, nil
}
