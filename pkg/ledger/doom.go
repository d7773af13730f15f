package ledger

import (
	"context"
	"encoding/hex"
	"sort"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Doomed is a message that is about to be deleted at the remote.
type Doomed struct {
	Key    Key
	Listed int64
	// Digest of its content where it is known.
	Digest []byte
}

// accountRounds bounds how often Doom reads the accounts of the slot again.
const accountRounds = 5

// Doom asks which messages may be deleted at the remote now: those that every active account of the remote
// mailbox has collected. Nothing is while this account is not enrolled: after a loss of Redis the others may
// not be known. They become deleting for each of these accounts. Call it right before DELE.
func (h *Hold) Doom(ctx context.Context, doomed []Doomed) (allowed []Key, err error) {
	others, err := h.others(ctx)
	if err != nil {
		return nil, err
	}
	for rounds := 0; len(doomed) > 0; {
		// Each key is looked up in each account: the work of one script stays bounded.
		n := min(len(doomed), max(1, maxBatch/(1+len(others))))
		keys, known, err := h.doom(ctx, doomed[:n], others)
		if err != nil {
			return allowed, err
		}
		if known {
			allowed, doomed = append(allowed, keys...), doomed[n:]
			continue
		}
		if rounds++; rounds > accountRounds {
			return allowed, fault.Errorf(fault.Canceled, "ledger doom", "the accounts of this mailbox keep changing")
		}
		if others, err = h.others(ctx); err != nil {
			return allowed, err
		}
	}
	return allowed, nil
}

// doom runs the script once; known is false when it sees an active account that others lacks.
func (h *Hold) doom(ctx context.Context, batch []Doomed, others []string) (allowed []Key, known bool, err error) {
	keys := append([]string(nil), h.keys...)
	args := []any{h.token, h.Epoch(), h.req.Account, len(others)}
	for _, a := range others {
		keys = append(keys, h.req.Slot.accountKeys(a)[:5]...)
		args = append(args, a)
	}
	for _, d := range batch {
		raw, err := rawOf("ledger doom", d.Key)
		if err != nil {
			return nil, false, err
		}
		args = append(args, raw, FoldSize(d.Listed), max(d.Listed, 0), hex.EncodeToString(d.Digest))
	}
	reply, err := h.l.run(ctx, "doom", keys, args...)
	if text(reply, 0) == "ENROLL" {
		return nil, false, fault.New(fault.Canceled, "ledger doom", ErrNotEnrolled)
	}
	if err != nil || text(reply, 0) == "ACCOUNTS" {
		return nil, false, err
	}
	for i := 1; i < len(reply); i++ {
		allowed = append(allowed, keyOf(text(reply, i)))
	}
	return allowed, true, nil
}

// others are the other active accounts of the remote mailbox.
func (h *Hold) others(ctx context.Context) ([]string, error) {
	all, err := h.l.rdb.HGetAll(ctx, h.req.Slot.accountsKey()).Result()
	if err != nil {
		return nil, redisError(ctx, "ledger doom", err)
	}
	var names []string
	for a, active := range all {
		if active != "0" && a != h.req.Account && word(a) {
			names = append(names, a)
		}
	}
	sort.Strings(names)
	return names, nil
}
