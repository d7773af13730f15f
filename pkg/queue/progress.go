package queue

import (
	"context"
	"sync"

	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
)

// Progress is the live state of a run.
type Progress = mailferryv1.Progress

// followBuffer is how many progress messages wait for a follower before the oldest is dropped.
const followBuffer = 256

func progressSubject(uid string) string { return "ferry.v1.progress." + uid }

// SendProgress shows p to whoever follows the account now. It does not wait for anybody.
func (q *Queue) SendProgress(p *Progress) error {
	err := checkUID(p.GetAccountUid())
	if err == nil {
		var b []byte
		if b, err = proto.Marshal(p); err == nil {
			err = q.nc.Publish(progressSubject(p.GetAccountUid()), b)
		}
	}
	return fault.Wrap(fault.Internal, "send progress", err)
}

// FollowProgress returns the progress of an account, or of all for "", from now on: what is sent after
// it has returned is seen. A follower that is slow misses the oldest of what waits for it. The
// returned function ends the following and closes the channel; it may be called more than once. ctx
// bounds the opening only.
func (q *Queue) FollowProgress(ctx context.Context, accountUID string) (<-chan *Progress, func(), error) {
	if accountUID == "" {
		accountUID = "*"
	} else if err := checkUID(accountUID); err != nil {
		return nil, nil, fault.New(fault.Internal, "follow progress", err)
	}
	f := &follower{out: make(chan *Progress, followBuffer)}
	sub, err := q.nc.Subscribe(progressSubject(accountUID), f.receive)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Internal, "follow progress", err)
	}
	stop := func() {
		_ = sub.Unsubscribe()
		f.close()
	}
	ctx, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	if err := q.nc.FlushWithContext(ctx); err != nil {
		stop()
		return nil, nil, fault.Wrap(fault.Internal, "follow progress", err)
	}
	return f.out, stop, nil
}

// follower is the bounded buffer of one follower.
type follower struct {
	mu     sync.Mutex
	out    chan *Progress
	closed bool
}

func (f *follower) receive(m *nats.Msg) {
	p := new(Progress)
	if proto.Unmarshal(m.Data, p) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.closed {
		select {
		case f.out <- p:
			return
		default:
		}
		select {
		case <-f.out:
		default:
		}
	}
}

func (f *follower) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.out)
	}
}
