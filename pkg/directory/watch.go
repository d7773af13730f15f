package directory

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Change is one change of an account.
type Change struct {
	Domain, Name string
	Revision     uint64
	// Account as it is now; nil: it was deleted.
	Account *account.Account
	// UID of the account, also of a deleted one; "" where the tombstone does not name it.
	UID string
}

const (
	watchAckWait = 30 * time.Second
	// watchOut bounds the changes that are out at all replicas of a watcher, watchPull those at one, which takes them together.
	watchOut  = 1024
	watchPull = 500
	// watchGather is how long a watcher that has a change waits for one more.
	watchGather = time.Millisecond
	// watchBeat is how often the server shows that it still knows a watcher.
	watchBeat   = 5 * time.Second
	watchExpiry = 30 * time.Second
	// maxRedelivery bounds the pause before a change that failed comes again.
	maxRedelivery = 30 * time.Second
)

// Watch calls each for every account as it is, tombstones included, and then for every change, until ctx
// ends; it returns ctx's error then. Its position is kept under the name durable and shared by all who watch under
// it: each change comes to one of them. What has come meanwhile, 500 changes at most, comes together, the older before the
// newer. Changes for which each returned nil are done; those for which it returned an error come again, each alone, after a
// pause that grows, unless a newer one of the same account has replaced it. A change may come more than once, and changes of one account may come to two watchers at a time: the
// one with the higher revision holds. each is called by one goroutine of this watcher.
func (d *Directory) Watch(ctx context.Context, durable string, each func(context.Context, []Change) error) error {
	return d.follow(ctx, d.accounts.stream, jetstream.ConsumerConfig{
		Durable: durable, FilterSubject: d.accounts.root + ">", DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: watchAckWait, MaxDeliver: -1, MaxAckPending: watchOut,
	}, func(ctx context.Context, msgs []jetstream.Msg) {
		for len(msgs) > 0 {
			n := together(msgs)
			d.changes(ctx, msgs[:n], each)
			msgs = msgs[n:]
		}
	})
}

// together is how many of the first messages are taken together: one that comes again may be what the others failed by.
func together(msgs []jetstream.Msg) int {
	again := func(m jetstream.Msg) bool { meta, err := m.Metadata(); return err == nil && meta.NumDelivered > 1 }
	if again(msgs[0]) {
		return 1
	}
	if i := slices.IndexFunc(msgs, again); i > 0 {
		return i
	}
	return len(msgs)
}

// changes hands the changes of some messages to each, and settles the messages.
func (d *Directory) changes(ctx context.Context, msgs []jetstream.Msg, each func(context.Context, []Change) error) {
	all, of := make([]Change, 0, len(msgs)), make([]jetstream.Msg, 0, len(msgs))
	for _, m := range msgs {
		e, ok := d.accounts.received(m)
		if !ok {
			_ = m.Term()
			continue
		}
		c, err := d.change(e)
		if err != nil {
			d.unreadable(d.accounts, e, err)
			_ = m.Term()
			continue
		}
		all, of = append(all, c), append(of, m)
	}
	if len(all) == 0 {
		return
	}
	err := each(ctx, all)
	for _, m := range of {
		if err != nil {
			_ = m.NakWithDelay(redelivery(m))
		} else {
			_ = m.Ack() // if it is lost, the change comes again
		}
	}
}

// WatchSettings calls each with the settings as they are and then with every change, until ctx ends; it
// returns ctx's error then.
func (d *Directory) WatchSettings(ctx context.Context, each func(Settings)) error {
	s, err := d.Settings(ctx)
	for err != nil {
		if ctx.Err() != nil || !jsapi.Passing(err) {
			return cmp.Or(ctx.Err(), err)
		}
		s, err = d.Settings(ctx)
	}
	each(s)
	return d.follow(ctx, d.settings.stream, jetstream.ConsumerConfig{
		FilterSubject: d.settings.root + settingsKey, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	}, one(func(m jetstream.Msg) {
		e, ok := d.settings.received(m)
		if !ok || e.key != settingsKey || e.revision <= s.Revision {
			return
		}
		now, err := readSettings(&e)
		if err != nil {
			d.unreadable(d.settings, e, err)
			return
		}
		s = now
		each(s)
	}))
}

// WatchDomains calls each for every domain as it is, and then for every change, until ctx ends; it returns ctx's error
// then. A domain that was deleted is one with a name alone.
func (d *Directory) WatchDomains(ctx context.Context, each func(Domain)) error {
	return d.follow(ctx, d.domains.stream, jetstream.ConsumerConfig{
		FilterSubject: d.domains.root + ">", DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	}, one(func(m jetstream.Msg) {
		e, ok := d.domains.received(m)
		if !ok {
			return
		}
		if name, ok := untoken(e.key); ok && e.deleted {
			each(Domain{Name: name})
			return
		}
		dom, err := readDomain(e)
		if err != nil {
			d.unreadable(d.domains, e, err)
			return
		}
		each(dom)
	}))
}

// one takes messages one by one.
func one(take func(jetstream.Msg)) func(context.Context, []jetstream.Msg) {
	return func(_ context.Context, msgs []jetstream.Msg) {
		for _, m := range msgs {
			take(m)
		}
	}
}

func (d *Directory) change(e entry) (Change, error) {
	domain, name, ok := accountOfKey(e.key)
	if e.deleted && ok {
		return Change{Domain: domain, Name: name, Revision: e.revision, UID: e.uid}, nil
	}
	a, err := d.readAccount(e)
	if err != nil {
		return Change{}, err
	}
	return Change{Domain: domain, Name: name, Revision: e.revision, Account: &a, UID: a.UID}, nil
}

// received returns the entry that came with a message of a consumer.
func (b *bucket) received(m jetstream.Msg) (entry, bool) {
	meta, err := m.Metadata()
	if err != nil {
		return entry{}, false
	}
	return b.entry(m.Subject(), m.Data(), meta.Sequence.Stream, m.Headers()), true
}

// redelivery is the pause before a change that failed comes again.
func redelivery(m jetstream.Msg) time.Duration {
	pause := 100 * time.Millisecond
	if meta, err := m.Metadata(); err == nil {
		for n := uint64(1); n < meta.NumDelivered && pause < maxRedelivery; n++ {
			pause *= 2
		}
	}
	return min(pause, maxRedelivery)
}

// follow hands the messages of a consumer to take until ctx ends. Consumer and bucket are made again when
// they vanish; it returns an error before ctx's end only if that cannot be done.
func (d *Directory) follow(ctx context.Context, stream string, cfg jetstream.ConsumerConfig, take func(context.Context, []jetstream.Msg)) error {
	for pause := jsapi.MinPause; ; pause = min(2*pause, jsapi.MaxPause) {
		var cons jetstream.Consumer
		err := d.retry(ctx, "watch", func(ctx context.Context) (err error) {
			if cfg.Durable != "" {
				cons, err = d.js.CreateOrUpdateConsumer(ctx, stream, cfg)
			} else {
				cons, err = d.js.CreateConsumer(ctx, stream, cfg)
			}
			return err
		})
		if err == nil {
			if d.consume(ctx, cons, take) > 0 {
				pause = jsapi.MinPause
			}
			if cfg.Durable == "" {
				d.remove(ctx, stream, cons)
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !jsapi.Passing(err):
			return err
		}
		if !jsapi.Sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// consume hands messages to take until ctx or the consumer ends, and says how many there were. What came
// and was not handed over goes back at once.
func (d *Directory) consume(ctx context.Context, cons jetstream.Consumer, take func(context.Context, []jetstream.Msg)) int {
	it, err := cons.Messages(jetstream.PullMaxMessages(watchPull), jetstream.PullExpiry(watchExpiry), jetstream.PullHeartbeat(watchBeat))
	if err != nil {
		return 0
	}
	defer it.Stop()
	for n := 0; ; {
		msgs, err := gather(ctx, it)
		switch {
		case ctx.Err() != nil:
			for _, m := range msgs {
				_ = m.Nak()
			}
			err = ctx.Err()
		case len(msgs) > 0:
			take(ctx, msgs)
			n += len(msgs)
		}
		if err != nil {
			if !errors.Is(err, jetstream.ErrMsgIteratorClosed) {
				handBack(it)
			}
			return n
		}
	}
}

// gather waits for a message and returns it with those that have come meanwhile, watchPull at most; an error says that
// there are no more behind these.
func gather(ctx context.Context, it jetstream.MessagesContext) ([]jetstream.Msg, error) {
	m, err := it.Next(jetstream.NextContext(ctx))
	if err != nil {
		return nil, err
	}
	msgs := []jetstream.Msg{m}
	for len(msgs) < watchPull {
		m, err := it.Next(jetstream.NextMaxWait(watchGather))
		if errors.Is(err, nats.ErrTimeout) {
			return msgs, nil
		}
		if err != nil {
			return msgs, err
		}
		msgs = append(msgs, m)
	}
	return msgs, nil
}

func handBack(it jetstream.MessagesContext) {
	it.Drain()
	for {
		m, err := it.Next(jetstream.NextMaxWait(2 * time.Second))
		if err != nil {
			return
		}
		_ = m.Nak()
	}
}

// remove removes a consumer that nobody needs any more; the server does it by itself after a minute.
func (d *Directory) remove(ctx context.Context, stream string, cons jetstream.Consumer) {
	if jsapi.Online(d.nc) != nil {
		return
	}
	_ = jsapi.Attempt(context.WithoutCancel(ctx), jsapi.AttemptLimit, func(ctx context.Context) error {
		return d.js.DeleteConsumer(ctx, stream, cons.CachedInfo().Name)
	})
}
