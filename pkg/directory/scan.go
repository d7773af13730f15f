package directory

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/nats-io/nats.go/jetstream"
)

// scanned is how many records are read at a time.
const scanned = 1000

// Scan yields all accounts in no order, as fast as they can be read. What was there when it began, and is not removed, is
// yielded, and one that is changed meanwhile perhaps more than once; a replica that lags behind is not believed. Records
// that cannot be read are passed over, see [Config.Unreadable]. An error ends it. In memory is one batch of records.
func (d *Directory) Scan(ctx context.Context) iter.Seq2[account.Account, error] {
	return func(yield func(account.Account, error) bool) {
		s := scan{b: d.accounts}
		defer s.close(ctx)
		for !s.done {
			var batch []entry
			err := d.retry(ctx, "scan accounts", func(ctx context.Context) (err error) {
				batch, err = s.next(ctx)
				return err
			})
			if err != nil {
				yield(account.Account{}, err)
				return
			}
			for _, e := range batch {
				if e.deleted {
					continue
				}
				a, err := d.readAccount(e)
				if err != nil {
					d.unreadable(d.accounts, e, err)
					continue
				}
				if !yield(a, nil) {
					return
				}
			}
		}
	}
}

// scan reads a bucket in the order of its revisions.
type scan struct {
	b    *bucket
	cons jetstream.Consumer // nil: to be made
	// at is the last revision that was read.
	at uint64
	// got is how many entries the consumer has handed out.
	got  uint64
	done bool
}

// next reads the next entries. It can be called again after an error, whatever became of the consumer.
func (s *scan) next(ctx context.Context) ([]entry, error) {
	if err := s.open(ctx); err != nil || s.done {
		return nil, err
	}
	msgs, err := s.cons.FetchNoWait(scanned)
	if err != nil {
		s.cons = nil
		return nil, err
	}
	batch, waiting := make([]entry, 0, scanned), uint64(0)
	for m := range msgs.Messages() {
		meta, merr := m.Metadata()
		if merr != nil || meta.Sequence.Consumer != s.got+1 { // one was lost on the way
			s.cons = nil
			break
		}
		batch = append(batch, s.b.entry(m.Subject(), m.Data(), meta.Sequence.Stream, m.Headers()))
		s.at, s.got, waiting = meta.Sequence.Stream, meta.Sequence.Consumer, meta.NumPending
	}
	if err = msgs.Error(); err != nil {
		s.cons = nil
	}
	if waiting == 0 && err == nil {
		err = s.ended(ctx)
	}
	if len(batch) > 0 {
		return batch, nil // what went wrong, if anything, is met again
	}
	if err == nil && !s.done { // a replica lags behind
		_ = jsapi.Sleep(ctx, 2*jsapi.MinPause)
	}
	return nil, err
}

// open makes the consumer, if there is none.
func (s *scan) open(ctx context.Context) (err error) {
	if s.cons != nil {
		return nil
	}
	if err := s.ended(ctx); err != nil || s.done {
		return err
	}
	s.got = 0
	s.cons, err = s.b.d.js.CreateConsumer(ctx, s.b.stream, jetstream.ConsumerConfig{
		FilterSubject: s.b.root + ">", DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.at + 1,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	return err
}

// ended asks the leader whether there is more.
func (s *scan) ended(ctx context.Context) error {
	last, err := s.b.get(ctx, ">")
	if err != nil && !errors.Is(err, errNoKey) {
		return err
	}
	s.done = err != nil || last.revision <= s.at
	return nil
}

func (s *scan) close(ctx context.Context) {
	if s.cons != nil {
		s.b.d.remove(ctx, s.b.stream, s.cons)
	}
}
