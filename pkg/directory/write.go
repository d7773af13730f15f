package directory

import (
	"bytes"
	"context"
	"errors"

	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/nats-io/nats.go"
)

// write is one compare-and-set.
type write struct {
	key    string
	value  []byte
	header nats.Header
	// fresh says that there is probably nothing: it is only looked at when the write is refused.
	fresh bool
	// decide says, from what is there (nil: nothing ever was), whether to write over it; an error ends the
	// write. It is asked again when somebody else was faster.
	decide func(there *entry) error
}

// do reads, decides and writes, until a write holds. An attempt whose answer was lost is recognised by
// what it left. It returns the revision written.
func (b *bucket) do(ctx context.Context, op string, w write) (uint64, error) {
	var written uint64
	doubt := false // an earlier attempt may have written
	err := b.d.retry(ctx, op, func(ctx context.Context) error {
		for {
			var there *entry
			var err error
			if !w.fresh {
				if there, err = b.find(ctx, w.key); err != nil {
					return err
				}
			}
			w.fresh = false
			if doubt && there != nil && w.left(*there) {
				written = there.revision
				return nil
			}
			if err := w.decide(there); err != nil {
				return err
			}
			var expect uint64
			if there != nil {
				expect = there.revision
			}
			switch written, err = b.put(ctx, w.key, w.value, w.header, &expect); {
			case err == nil:
				return nil
			case !errors.Is(err, errRevision):
				doubt = doubt || !jsapi.Missing(err)
				return err
			}
		}
	})
	return written, err
}

// find reads a key from the leader; nil says that nothing was ever there.
func (b *bucket) find(ctx context.Context, key string) (*entry, error) {
	e, err := b.get(ctx, key)
	switch {
	case errors.Is(err, errNoKey):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &e, nil
}

// left says whether e is what w writes.
func (w write) left(e entry) bool {
	return bytes.Equal(e.value, w.value) && e.deleted == (w.header != nil) && (w.header == nil || e.uid == w.header.Get(uidHeader))
}
