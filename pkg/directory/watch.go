package directory

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/jsapi"
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
	// watchOut bounds the changes that are out at all replicas of a watcher, watchPull those at one.
	watchOut  = 1024
	watchPull = 128
	// watchBeat is how often the server shows that it still knows a watcher.
	watchBeat   = 5 * time.Second
	watchExpiry = 30 * time.Second
	// maxRedelivery bounds the pause before a change that failed comes again.
	maxRedelivery = 30 * time.Second
)

// Watch calls each for every account as it is, tombstones included, and then for every change, until ctx
// ends; it returns ctx's error then. Its position is kept under the name durable and shared by all who watch under
// it: each change comes to one of them. A change for which each returned nil is done, one for which it
// returned an error comes again after a pause that grows, unless a newer one of the same account has replaced
// it. A change may come more than once, and changes of one account may come to two watchers at a time: the
// one with the higher revision holds. each is called by one goroutine of this watcher.
func (d *Directory) Watch(ctx context.Context, durable string, each func(context.Context, Change) error) error {
	return d.follow(ctx, d.accounts.stream, jetstream.ConsumerConfig{
		Durable: durable, FilterSubject: d.accounts.root + ">", DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: watchAckWait, MaxDeliver: -1, MaxAckPending: watchOut,
	}, func(ctx context.Context, m jetstream.Msg) {
		e, ok := d.accounts.received(m)
		if !ok {
			_ = m.Term()
			return
		}
		c, err := d.change(e)
		if err != nil {
			d.unreadable(d.accounts, e, err)
			_ = m.Term()
			return
		}
		if err := each(ctx, c); err != nil {
			_ = m.NakWithDelay(redelivery(m))
			return
		}
		_ = m.Ack() // if it is lost, the change comes again
	})
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
	}, func(_ context.Context, m jetstream.Msg) {
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
	})
}

// WatchDomains calls each for every domain as it is, and then for every change, until ctx ends; it returns ctx's error
// then. A domain that was deleted is one with a name alone.
func (d *Directory) WatchDomains(ctx context.Context, each func(Domain)) error {
	return d.follow(ctx, d.domains.stream, jetstream.ConsumerConfig{
		FilterSubject: d.domains.root + ">", DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	}, func(_ context.Context, m jetstream.Msg) {
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
	})
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
func (d *Directory) follow(ctx context.Context, stream string, cfg jetstream.ConsumerConfig, take func(context.Context, jetstream.Msg)) error {
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
func (d *Directory) consume(ctx context.Context, cons jetstream.Consumer, take func(context.Context, jetstream.Msg)) int {
	it, err := cons.Messages(jetstream.PullMaxMessages(watchPull), jetstream.PullExpiry(watchExpiry), jetstream.PullHeartbeat(watchBeat))
	if err != nil {
		return 0
	}
	defer it.Stop()
	for n := 0; ; n++ {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err == nil && ctx.Err() != nil {
			_ = m.Nak()
			err = ctx.Err()
		}
		if err != nil {
			if !errors.Is(err, jetstream.ErrMsgIteratorClosed) {
				handBack(it)
			}
			return n
		}
		take(ctx, m)
	}
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
