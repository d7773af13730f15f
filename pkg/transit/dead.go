package transit

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/vault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// jobPrefix marks a dead letter of a job; no message key begins with it.
const jobPrefix = "job-"

// listBytes bounds one batch of a listing.
const listBytes = 1 << 20

// Bury stores a dead letter and waits for the PubAck; a letter of the same key is replaced. The body of
// its message stays in the object store as long as the letter is there.
func (t *Transit) Bury(ctx context.Context, letter *mailferryv1.DeadLetter) error {
	const op = "transit bury"
	uid, key, err := letterKey(letter)
	if err != nil {
		return err
	}
	letter, err = t.sealed(letter)
	if err != nil {
		return err
	}
	payload, err := proto.Marshal(letter)
	if most := int(t.nc.MaxPayload()); err == nil && most > 0 && len(payload) > most-metaRoom {
		payload, err = t.lighten(ctx, letter)
	}
	if err != nil {
		return failure(op, err)
	}
	return failure(op, t.publishOne(ctx, t.dead, deadSubject(uid, key), payload))
}

// sealed returns a letter whose inline body is sealed; one that lay open in TRANSIT was published by an older version.
func (t *Transit) sealed(letter *mailferryv1.DeadLetter) (*mailferryv1.DeadLetter, error) {
	if m := letter.GetMessage(); t.cfg.Bodies == nil || len(m.GetInline()) == 0 || len(m.GetBodyKey()) > 0 {
		return letter, nil
	}
	letter = proto.CloneOf(letter)
	m := letter.GetMessage()
	buf := append(make([]byte, vault.NonceRoom, vault.NonceRoom+len(m.GetInline())+vault.TagRoom), m.GetInline()...)
	m.Content = &mailferryv1.FetchedMessage_Inline{Inline: t.cfg.Bodies.Seal(buf, sealContext(m))}
	m.BodyKey = t.cfg.Bodies.Key()
	return letter, nil
}

// lighten encodes a letter that is too large for one message, for instance because of a long list of
// recipients, with its inline body in the object store.
func (t *Transit) lighten(ctx context.Context, letter *mailferryv1.DeadLetter) ([]byte, error) {
	letter = proto.CloneOf(letter)
	if m := letter.GetMessage(); m.GetObject() == "" && len(m.GetInline()) > 0 {
		body, err := t.OpenBody(ctx, m)
		if err != nil {
			return nil, err
		}
		h := sha256.New()
		if err := t.putBody(ctx, m, io.TeeReader(body, h)); err != nil {
			return nil, err
		}
		m.Digest = h.Sum(nil)
	}
	return proto.Marshal(letter)
}

// letterKey returns the two parts of the id of a letter.
func letterKey(letter *mailferryv1.DeadLetter) (uid, key string, err error) {
	uid, key = letter.GetAccountUid(), letter.GetMessage().GetKey()
	if uid == "" {
		uid = letter.GetMessage().GetAccountUid()
	}
	if letter.GetMessage() == nil {
		if letter.GetJobId() == "" {
			return "", "", fault.Errorf(fault.Internal, "transit bury", "the letter has neither message nor job")
		}
		key = jobPrefix + letter.GetJobId()
	}
	return uid, key, checkTokens("transit bury", "account uid", uid, "key", key)
}

// GetDead returns a dead letter, inline body included. Its id is "<account uid>/<key>".
func (t *Transit) GetDead(ctx context.Context, id string) (*DeadEntry, error) {
	e, _, err := t.lastDead(ctx, id)
	return e, err
}

// lastDead returns a dead letter and its sequence in DEAD.
func (t *Transit) lastDead(ctx context.Context, id string) (e *DeadEntry, seq uint64, err error) {
	const op = "transit dead"
	uid, key, err := splitID(id)
	if err != nil {
		return nil, 0, err
	}
	var r struct {
		apiResponse
		Message struct {
			Seq  uint64 `json:"seq"`
			Data string `json:"data"`
		} `json:"message"`
	}
	req := struct {
		Last string `json:"last_by_subj"`
	}{deadSubject(uid, key)}
	err = t.call(ctx, "STREAM.MSG.GET."+deadStream, req, &r)
	if isCode(err, jetstream.JSErrCodeMessageNotFound) || isCode(err, jetstream.JSErrCodeStreamNotFound) {
		return nil, 0, failure(op, ErrNotFound)
	}
	if err != nil {
		return nil, 0, failure(op, err)
	}
	data, err := base64.StdEncoding.DecodeString(r.Message.Data)
	if err != nil {
		return nil, 0, failure(op, err)
	}
	return readLetter(id, data), r.Message.Seq, nil
}

// readLetter decodes a letter. One that cannot be decoded is shown as what its id says, so that it can
// be dropped.
func readLetter(id string, data []byte) *DeadEntry {
	letter := &mailferryv1.DeadLetter{}
	if err := proto.Unmarshal(data, letter); err != nil {
		uid, _, _ := strings.Cut(id, "/")
		letter = &mailferryv1.DeadLetter{
			AccountUid: uid,
			Fault:      fault.Proto(fault.Errorf(fault.Internal, "transit dead", "the letter cannot be read")),
		}
	}
	return &DeadEntry{Id: id, Letter: letter}
}

func splitID(id string) (uid, key string, err error) {
	uid, key, _ = strings.Cut(id, "/")
	if !token(uid) || !token(key) {
		return "", "", failure("transit dead", ErrNotFound)
	}
	return uid, key, nil
}

// DropDead removes a dead letter as it was read, and the body of its message unless TRANSIT holds the key again. One of the
// same message that was buried since, after a retry, stays.
func (t *Transit) DropDead(ctx context.Context, e *DeadEntry) error {
	const op = "transit drop"
	last, seq, err := t.lastDead(ctx, e.GetId())
	if err != nil {
		return err
	}
	if !proto.Equal(last.GetLetter().GetBuriedAt(), e.GetLetter().GetBuriedAt()) {
		return nil
	}
	uid, key, err := splitID(e.GetId())
	if err != nil {
		return err
	}
	if _, err := t.purgeTo(ctx, deadStream, deadSubject(uid, key), seq); err != nil {
		return failure(op, err)
	}
	object := last.GetLetter().GetMessage().GetObject()
	if object == "" {
		return nil
	}
	// What fails from here on costs room until the sweep, nothing else. A letter is buried before TRANSIT lets go of it.
	if t.free(ctx, transitStream, mailOfKey(uid, key)) && t.free(ctx, deadStream, deadSubject(uid, key)) {
		_ = t.removeBody(ctx, object)
	}
	return nil
}

// free says that a stream surely holds nothing under a subject.
func (t *Transit) free(ctx context.Context, stream, subject string) bool {
	held, err := t.subjects(ctx, stream, subject)
	return isCode(err, jetstream.JSErrCodeStreamNotFound) || err == nil && len(held) == 0
}

// Dead returns the newest dead letters of an account, or of all with "", newest first, without inline
// bodies.
func (t *Transit) Dead(ctx context.Context, accountUID string, limit int) ([]*DeadEntry, error) {
	const op = "transit dead"
	filter := deadPrefix + ">"
	if accountUID != "" {
		if err := checkTokens(op, "account uid", accountUID); err != nil {
			return nil, err
		}
		filter = deadPrefix + accountUID + ".>"
	}
	state, err := t.state(ctx, deadStream)
	if err != nil {
		return nil, failure(op, err)
	}
	d, err := t.newDirectReader(deadStream)
	if err != nil {
		return nil, failure(op, err)
	}
	defer d.close()
	var found []*DeadEntry
	// Backwards in ranges that grow: letters can only be read forwards.
	for end, span := state.LastSeq+1, uint64(max(limit, 1)); len(found) < limit && end > state.FirstSeq && state.Msgs > 0; span *= 2 {
		begin := max(state.FirstSeq, end-min(end, span))
		part, err := deadRange(ctx, d, filter, begin, end, limit-len(found))
		if err != nil {
			return nil, failure(op, err)
		}
		slices.Reverse(part)
		found = append(found, part...)
		end = begin
	}
	return found, nil
}

// deadRange reads the letters from begin to before end and returns the last ones, oldest first.
func deadRange(ctx context.Context, d *directReader, filter string, begin, end uint64, limit int) ([]*DeadEntry, error) {
	var found []*DeadEntry
	for next := begin; next < end; {
		last := next
		err := d.get(ctx, directRequest{Seq: next, Next: filter, Batch: directBatch, Bytes: listBytes}, func(s stored) error {
			if next = s.seq + 1; s.seq >= end {
				return nil
			}
			e := readLetter(strings.Replace(strings.TrimPrefix(s.subject, deadPrefix), ".", "/", 1), s.data)
			strip(e.GetLetter().GetMessage())
			if found = append(found, e); len(found) > limit {
				found = found[1:]
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if next == last {
			break // nothing more
		}
	}
	return found, nil
}

func strip(m *Message) {
	if m != nil && m.GetObject() == "" {
		m.Content = nil
	}
}

// EraseAccount removes everything of an account: messages in transit, dead letters, bodies.
func (t *Transit) EraseAccount(ctx context.Context, accountUID string) error {
	const op = "transit erase"
	if err := checkTokens(op, "account uid", accountUID); err != nil {
		return err
	}
	_, errMail := t.purge(ctx, transitStream, mailOfAccount(accountUID))
	_, errDead := t.purge(ctx, deadStream, deadPrefix+accountUID+".>")
	return failure(op, errors.Join(errMail, errDead, t.eraseBodies(ctx, accountUID)))
}

func (t *Transit) eraseBodies(ctx context.Context, accountUID string) error {
	bodies, err := t.bodyNames(ctx, chunkPrefix+accountUID+".>")
	if err != nil {
		return err
	}
	for _, b := range bodies {
		if err := t.removeBody(ctx, b.name); err != nil {
			return err
		}
	}
	return nil
}
