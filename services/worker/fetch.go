package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mailferry/mailferry/pkg/daemon/killpoint"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/transit"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// publishWindow is how many messages may wait for their PubAck.
const publishWindow = 256

// fetch is step 5: mark, fetch, publish, in windows. It returns when everything that was fetched is
// published or known not to be.
func (r *run) fetch(ctx context.Context, fresh []candidate, f *flight) error {
	pub := r.w.Transit.Publisher(publishWindow)
	w := &wave{r: r, f: f, fresh: fresh}
	var err error
	for len(w.fresh) > 0 && err == nil {
		batch := w.next(max(1, r.w.cfg.Batch/8)) // more is marked while the first ones come
		if len(batch) == 0 {
			err = f.waitForRoom(ctx)
			continue
		}
		if err = r.fetchBatch(ctx, w, batch, pub); err == nil {
			err = f.refused()
		}
	}
	killpoint.Reach("worker.fetched")
	flushed := pub.Flush(ctx)
	if err == nil {
		err = f.refused() // the last refusals come with the flush
	}
	return errors.Join(err, flushed, r.unmark(ctx, f.unpublished()))
}

// fetchBatch marks a batch and fetches what was marked, and goes on with the next ones as long as they are alike: they
// are marked while the server still sends. A message that was marked and not reached loses its mark again; one whose own
// fetch failed keeps it, so that its attempts are counted.
func (r *run) fetchBatch(ctx context.Context, w *wave, batch []candidate, pub *transit.Publisher) error {
	items, err := w.mark(ctx, batch)
	if err != nil || len(items) == 0 {
		return errors.Join(err, r.unmark(ctx, w.left()))
	}
	killpoint.Reach("worker.marked")
	each := func(got remote.Fetched) error {
		key, ok := w.reach(got.Item)
		switch {
		case !ok:
			return nil
		case errors.Is(got.Err, remote.ErrInternalData):
			return r.skip(ctx, key, got.Item)
		case batch[0].notice:
			return r.publishNotice(ctx, key, got, pub, w.f)
		case got.Err != nil:
			r.failed(got.Item, got.Err)
			return nil
		}
		return r.publish(ctx, key, got, pub, w.f)
	}
	switch first := batch[0]; { // all are alike
	case first.notice:
		err = r.headers(ctx, items, each)
	case first.seen != "": // alone
		err = r.session.Fetch(ctx, items, each)
	default:
		err = r.session.Stream(ctx, items, func() []remote.Item { return w.more(ctx) }, each)
	}
	marked, left := w.marked, w.left()
	if err == nil && w.err == nil && len(left) > 0 {
		// The server answered the command and left these out: an attempt each, like any other failure.
		r.failed(items[0], fault.Errorf(fault.Protocol, "fetch", "the server left out %d of %d messages", len(left), marked))
		return nil
	}
	return errors.Join(err, w.err, r.unmark(ctx, left))
}

// park makes a message that could not be fetched for too often visible in DEAD; the mark's script has
// parked its key already.
func (r *run) park(ctx context.Context, c candidate) error {
	err := fault.Errorf(fault.Protocol, "fetch", "given up after too many attempts; 'mailferry dead retry' fetches it again")
	r.failed(c.item, err)
	r.w.metrics.messages.WithLabelValues("parked").Inc()
	m := r.message(c.key, remote.Fetched{Item: c.item})
	return r.w.Transit.Bury(ctx, &mailferryv1.DeadLetter{
		BuriedAt: stamp(time.Now()), Fault: shown(err), Recipients: append([]string{r.acc.ForwardTo}, r.acc.CopyTo...), Message: m,
		AccountUid: r.acc.UID, Domain: r.acc.Domain, Name: r.acc.Name,
	})
}

// publish streams one message into TRANSIT.
func (r *run) publish(ctx context.Context, key ledger.Key, got remote.Fetched, pub *transit.Publisher, f *flight) error {
	m := r.message(key, got)
	body := &headed{r: got.Body, found: func(head []byte) { m.Identity, _, _ = r.w.identity(bytes.NewReader(head)) }}
	return r.put(ctx, m, body, got.Item, pub, f)
}

// put is the end of publish.
func (r *run) put(ctx context.Context, m *mailferryv1.FetchedMessage, from io.Reader, it remote.Item, pub *transit.Publisher, f *flight) error {
	killpoint.Reach("worker.publishing")
	key, octets := ledger.Key(m.GetKey()), it.Size
	if m.GetNotice() {
		octets = noticeOctets
	}
	f.takeOff(key, octets)
	body := &watched{r: from}
	err := pub.Put(ctx, m, body, func(err error) { f.published(key, m.GetSize(), err) })
	if err == nil {
		return nil
	}
	f.lost(key)
	if body.err != nil {
		r.failed(it, err)
	}
	if fault.KindOf(err) == fault.Policy { // too large: this message alone
		return nil
	}
	return fmt.Errorf("fetch: %w", err)
}

// watched is a body that keeps its own failure apart from those of whoever takes it.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// message fills in all but the content.
func (r *run) message(key ledger.Key, got remote.Fetched) *mailferryv1.FetchedMessage {
	host, _, _ := r.acc.HostPort()
	m := &mailferryv1.FetchedMessage{
		AccountUid: r.acc.UID, Domain: r.acc.Domain, Name: r.acc.Name, Key: string(key), Epoch: r.hold.Epoch(),
		Revision: r.acc.Revision, Slot: string(r.slot), RunId: r.report.RunId, FetchedAt: stamp(time.Now()),
		ListedSize: got.Item.Size, Mailbox: got.Item.Mailbox, Flags: got.Flags, RemoteHost: host, Protocol: string(r.acc.Protocol),
		Delimiter: r.listing.Delimiter,
	}
	if !got.InternalDate.IsZero() {
		m.InternalDate = stamp(got.InternalDate)
	}
	return m
}

// skip passes a marked message over for good: it is neither fetched again nor deleted.
func (r *run) skip(ctx context.Context, key ledger.Key, it remote.Item) error {
	if err := r.hold.Unmark(ctx, []ledger.Key{key}); err != nil {
		return err
	}
	return r.hold.Skip(ctx, []ledger.Item{{Key: key, Listed: it.Size}})
}

// unmark takes the marks of messages that are not in TRANSIT off again.
func (r *run) unmark(ctx context.Context, keys []ledger.Key) error {
	if len(keys) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	for len(keys) > 0 {
		n := min(r.w.cfg.Batch, len(keys))
		if err := r.hold.Unmark(ctx, keys[:n]); err != nil {
			return nil //nolint:nilerr // a mark without a message is found out by the next run, which asks TRANSIT
		}
		keys = keys[n:]
	}
	return nil
}
