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

// Collection is what must be remembered of an account, whatever Redis loses: that it has collected, and
// under which epoch of its UID index, so that a lost index is known as lost; and that it was seen with TLS.
type Collection struct {
	Epoch string // "" while it has not collected
	Since time.Time
	// TLSTarget is the "host:port" at which it was seen with TLS, TLSVersion and TLSSince how and when.
	TLSTarget, TLSVersion string
	TLSSince              time.Time
}

// Collection returns the record of an account, as its leader has it; the zero value if there is none.
func (d *Directory) Collection(ctx context.Context, uid string) (Collection, error) {
	var c Collection
	err := d.retry(ctx, "read collection", func(ctx context.Context) error {
		e, err := d.collections.find(ctx, token(uid))
		if err == nil {
			c, err = readCollection(uid, e)
		}
		return err
	})
	return c, err
}

func readCollection(uid string, e *entry) (Collection, error) {
	if e == nil || e.deleted {
		return Collection{}, nil
	}
	var p mailferryv1.Collection
	if err := proto.Unmarshal(e.value, &p); err != nil || p.GetEpoch() == "" && p.GetTlsTarget() == "" {
		return Collection{}, fault.Errorf(fault.Internal, "collection "+fault.Clean(uid), "the record cannot be read")
	}
	c := Collection{Epoch: p.GetEpoch(), TLSTarget: p.GetTlsTarget(), TLSVersion: p.GetTlsVersion()}
	if t := p.GetSince(); t != nil {
		c.Since = t.AsTime()
	}
	if t := p.GetTlsSince(); t != nil {
		c.TLSSince = t.AsTime()
	}
	return c, nil
}

// UpdateCollection lets change edit the record of an account and writes it, unless nothing changed. change is
// called again when somebody else was faster. A record that says nothing any more is removed.
func (d *Directory) UpdateCollection(ctx context.Context, uid string, change func(*Collection)) error {
	if uid == "" {
		return fault.Errorf(fault.Internal, "update collection", "a collection needs an account")
	}
	return d.retry(ctx, "update collection", func(ctx context.Context) error {
		for {
			there, err := d.collections.find(ctx, token(uid))
			if err != nil {
				return err
			}
			was, err := readCollection(uid, there)
			if err != nil {
				return err
			}
			c := was
			if change(&c); c == was {
				return nil
			}
			if c.Epoch == "" && c.TLSTarget == "" { // only what was read goes: a newer record is edited in its turn
				if err := d.collections.purge(ctx, token(uid), jetstream.WithPurgeSequence(there.revision+1)); err != nil {
					return err
				}
				continue
			}
			var expect uint64
			if there != nil {
				expect = there.revision
			}
			value, err := proto.Marshal(c.proto())
			if err != nil {
				return fault.New(fault.Internal, "update collection", err)
			}
			if _, err = d.collections.put(ctx, token(uid), value, nil, &expect); !errors.Is(err, errRevision) {
				return err
			}
		}
	})
}

func (c Collection) proto() *mailferryv1.Collection {
	p := &mailferryv1.Collection{Epoch: c.Epoch, TlsTarget: c.TLSTarget, TlsVersion: c.TLSVersion}
	if !c.Since.IsZero() {
		p.Since = timestamppb.New(c.Since)
	}
	if !c.TLSSince.IsZero() {
		p.TlsSince = timestamppb.New(c.TLSSince)
	}
	return p
}

// DeleteCollection forgets that an account has collected; nothing is left of the record. Deleting what is
// not there is no error.
func (d *Directory) DeleteCollection(ctx context.Context, uid string) error {
	return d.retry(ctx, "delete collection", func(ctx context.Context) error { return d.collections.purge(ctx, token(uid)) })
}
