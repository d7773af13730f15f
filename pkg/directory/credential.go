package directory

import (
	"context"
	"errors"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Credential returns what is kept of an account's OAuth consent, sealed, and its revision, as the leader has
// it: a refresh token that a lagging replica still shows may be one that the provider takes for stolen. nil
// and the revision of what was there if there is none.
func (d *Directory) Credential(ctx context.Context, uid string) (sealed []byte, revision uint64, err error) {
	err = d.retry(ctx, "read credential", func(ctx context.Context) error {
		e, err := d.credentials.get(ctx, token(uid))
		if errors.Is(err, errNoKey) {
			return nil
		}
		if err == nil {
			revision = e.revision
			if !e.deleted {
				sealed = e.value
			}
		}
		return err
	})
	return sealed, revision, err
}

// EraseCredential removes what is kept of an account's consent, and that there was any. It is for accounts that are deleted.
func (d *Directory) EraseCredential(ctx context.Context, uid string) error {
	return d.retry(ctx, "erase credential", func(ctx context.Context) error { return d.credentials.purge(ctx, token(uid)) })
}

// PutCredential keeps it if the record still is at the revision, 0 for none; otherwise it returns [ErrConflict].
// A nil sealed removes it.
func (d *Directory) PutCredential(ctx context.Context, uid string, sealed []byte, revision uint64) (uint64, error) {
	if uid == "" || len(sealed) > maxValue-4096 {
		return 0, fault.Errorf(fault.Internal, "put credential", "no account, or the record is too large")
	}
	w := write{key: token(uid), value: sealed, decide: func(there *entry) error {
		if there == nil && revision != 0 || there != nil && there.revision != revision {
			return conflict("credential")
		}
		return nil
	}}
	if sealed == nil {
		w.header = tombstone()
	}
	return d.credentials.do(ctx, "put credential", w)
}
