package directory

import (
	"context"
	"errors"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Collection records that an account has collected, and under which epoch of its UID index, so that a lost
// index is known as lost.
type Collection struct {
	Epoch string
	Since time.Time
}

// Collection returns the record of an account, as its leader has it; the zero value if it has never
// collected.
func (d *Directory) Collection(ctx context.Context, uid string) (Collection, error) {
	var c Collection
	err := d.retry(ctx, "read collection", func(ctx context.Context) error {
		e, err := d.collections.get(ctx, token(uid))
		if errors.Is(err, errNoKey) || err == nil && e.deleted {
			return nil
		}
		if err != nil {
			return err
		}
		var p mailferryv1.Collection
		if err := proto.Unmarshal(e.value, &p); err != nil || p.GetEpoch() == "" {
			return fault.Errorf(fault.Internal, "collection "+fault.Clean(uid), "the record cannot be read")
		}
		c.Epoch = p.GetEpoch()
		if t := p.GetSince(); t != nil {
			c.Since = t.AsTime()
		}
		return nil
	})
	return c, err
}

// PutCollection records that an account has collected. The last record holds.
func (d *Directory) PutCollection(ctx context.Context, uid string, c Collection) error {
	if uid == "" || c.Epoch == "" {
		return fault.Errorf(fault.Internal, "put collection", "a collection needs an account and an epoch")
	}
	p := &mailferryv1.Collection{Epoch: c.Epoch}
	if !c.Since.IsZero() {
		p.Since = timestamppb.New(c.Since)
	}
	value, err := proto.Marshal(p)
	if err != nil {
		return fault.New(fault.Internal, "put collection", err)
	}
	return d.retry(ctx, "put collection", func(ctx context.Context) error {
		_, err := d.collections.put(ctx, token(uid), value, nil, nil)
		return err
	})
}

// DeleteCollection forgets that an account has collected; nothing is left of the record. Deleting what is
// not there is no error.
func (d *Directory) DeleteCollection(ctx context.Context, uid string) error {
	return d.retry(ctx, "delete collection", func(ctx context.Context) error {
		s, err := d.js.Stream(ctx, d.collections.stream)
		if err != nil {
			return err
		}
		return s.Purge(ctx, jetstream.WithPurgeSubject(d.collections.root+token(uid)))
	})
}
