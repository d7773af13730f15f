package control_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/transit"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// park brings a message to its dead letter: marked, taken, parked, buried. It returns the letter's id.
func (h *house) park(name, uid string) string {
	h.t.Helper()
	const body = "Subject: hi\r\nFrom: x\r\n\r\nbody\r\n"
	ctx := h.t.Context()
	slot, a := h.slot(name)
	hold, err := h.led.Acquire(ctx, ledger.AcquireRequest{Slot: slot, Account: a.UID, Job: "j", Owner: "w"})
	if err != nil {
		h.t.Fatal(err)
	}
	epoch := hold.Epoch()
	if epoch == "" {
		epoch = "e1"
		if err := hold.OpenEpoch(ctx, epoch); err != nil {
			h.t.Fatal(err)
		}
	}
	key := ledger.NewKeyer(h.vault.KeySecret()).UniqueID(uid)
	if _, err := hold.Mark(ctx, []ledger.MarkRequest{{Key: key, Size: 10, Listed: 10}}); err != nil {
		h.t.Fatal(err)
	}
	if _, err := hold.Release(ctx); err != nil {
		h.t.Fatal(err)
	}
	if err := h.led.Park(ctx, h.take(slot, a, epoch, key).Lease); err != nil {
		h.t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(body))
	m := &mailferryv1.FetchedMessage{
		AccountUid: a.UID, Domain: a.Domain, Name: a.Name, Key: string(key), Epoch: epoch, Slot: string(slot), ListedSize: 10,
		Size: int64(len(body)), Digest: digest[:], Content: &mailferryv1.FetchedMessage_Inline{Inline: []byte(body)},
	}
	if err := h.trans.Bury(ctx, &mailferryv1.DeadLetter{
		BuriedAt: now(), Message: m, Recipients: []string{a.ForwardTo}, AccountUid: a.UID, Domain: a.Domain, Name: a.Name,
		Fault: fault.Proto(fault.Errorf(fault.DestinationRejected, "lmtp rcpt", "550 no such user")),
	}); err != nil {
		h.t.Fatal(err)
	}
	return a.UID + "/" + string(key)
}

func (h *house) retry(id string) (string, error) {
	h.t.Helper()
	res, err := h.dead.RetryDead(h.t.Context(), &mailferryv1.RetryDeadRequest{Id: id})
	return res.GetOutcome(), err
}

func (h *house) isDead(id string) bool {
	h.t.Helper()
	_, err := h.trans.GetDead(h.t.Context(), id)
	if err != nil && !errors.Is(err, transit.ErrNotFound) {
		h.t.Fatal(err)
	}
	return err == nil
}

func TestADeadLetterIsShownAndRetried(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("a")
	h.add("b")
	id, other := h.park("a", "u1"), h.park("b", "u2")
	for _, req := range []*mailferryv1.ListDeadRequest{{}, {Domain: "example.com"}} {
		all, err := h.dead.ListDead(t.Context(), req)
		if err != nil || len(all.GetEntries()) != 2 || all.GetEntries()[0].GetId() != other {
			t.Fatalf("%v %v", all, err)
		}
	}
	one, err := h.dead.ListDead(t.Context(), &mailferryv1.ListDeadRequest{Domain: "example.com", Name: "a"})
	if err != nil || len(one.GetEntries()) != 1 || one.GetEntries()[0].GetAccountGone() || one.GetEntries()[0].GetLetter().GetMessage().GetContent() != nil {
		t.Fatalf("%v %v", one, err)
	}
	none, err := h.dead.ListDead(t.Context(), &mailferryv1.ListDeadRequest{Domain: "another.example"})
	if err != nil || len(none.GetEntries()) != 0 {
		t.Fatalf("%v %v", none, err)
	}
	got, err := h.dead.GetDead(t.Context(), &mailferryv1.GetDeadRequest{Id: id})
	if err != nil || string(got.GetHeader()) != "Subject: hi\r\nFrom: x" || got.GetEntry().GetLetter().GetMessage().GetContent() != nil {
		t.Errorf("%v %v", got, err)
	}
	if out, err := h.retry(id); err != nil || out != "queued" || h.isDead(id) {
		t.Fatalf("%s %v", out, err)
	}
	intake, err := h.trans.Lanes(t.Context(), transit.LaneConfig{Prefetch: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(intake.Stop)
	p, err := intake.Next(t.Context())
	if err != nil || p.Err != nil {
		t.Fatal(err, p.Err)
	}
	if !p.GetRetried() {
		t.Error("delivery cannot tell that somebody asked for it")
	}
	r, err := p.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || !strings.HasSuffix(string(b), "\r\n\r\nbody\r\n") {
		t.Errorf("%q %v", b, err)
	}
	slot, a := h.slot("a")
	taken := h.take(slot, a, p.GetEpoch(), ledger.Key(p.GetKey()))
	if _, err := h.led.Commit(t.Context(), taken.Lease); err != nil {
		t.Fatal(err)
	}
	if _, err := h.retry(id); connect.CodeOf(err) != connect.CodeNotFound {
		t.Error(err)
	}
	_, err = h.dead.GetDead(t.Context(), &mailferryv1.GetDeadRequest{Id: "no\n/such"})
	wantError(t, err, connect.CodeNotFound, fault.NotFound, "dead list")
}

func TestARetryLooksAtTheKeyFirst(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("a")
	slot, a := h.slot("a")
	ctx := t.Context()
	key := func(id string) ledger.Key { return ledger.Key(id[strings.IndexByte(id, '/')+1:]) }

	// Collected meanwhile: the letter goes.
	id := h.park("a", "u1")
	if _, err := h.led.Retry(ctx, slot, a.UID, key(id), 10, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := h.led.Commit(ctx, h.take(slot, a, "e1", key(id)).Lease); err != nil {
		t.Fatal(err)
	}
	if out, err := h.retry(id); err != nil || out != "already-collected" || h.isDead(id) {
		t.Errorf("%s %v", out, err)
	}
	// A retry that broke off between mark and TRANSIT is taken up again.
	id = h.park("a", "u2")
	if _, err := h.led.Retry(ctx, slot, a.UID, key(id), 10, 10); err != nil {
		t.Fatal(err)
	}
	if out, err := h.retry(id); err != nil || out != "queued" || h.isDead(id) {
		t.Errorf("%s %v", out, err)
	}
	// In flight: the letter stays.
	id = h.park("a", "u3")
	e, err := h.trans.GetDead(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.trans.Republish(ctx, e.GetLetter().GetMessage()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if out, err := h.retry(id); err != nil || out != "in-flight" || !h.isDead(id) {
			t.Errorf("%s %v", out, err)
		}
	}
	// Not parked any more: nothing is published.
	id = h.park("a", "u4")
	if _, err := h.led.Unpark(ctx, slot, a.UID, key(id)); err != nil {
		t.Fatal(err)
	}
	_, err = h.retry(id)
	wantError(t, err, connect.CodeFailedPrecondition, fault.Policy, "next run fetches it")
	if held, err := h.trans.Held(ctx, a.UID); err != nil || held[string(key(id))] {
		t.Error(held, err)
	}
	// Dropped: parked for good.
	id = h.park("a", "u5")
	if _, err := h.dead.DropDead(ctx, &mailferryv1.DropDeadRequest{Id: id}); err != nil || h.isDead(id) {
		t.Error(err)
	}
	if c, err := h.led.State(ctx, slot, a.UID); err != nil || c.Parked != 1 {
		t.Errorf("%+v %v", c, err)
	}
}

// The body of a large message is in the object store.
func TestTheHeaderOfALargeDeadLetterIsShown(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("a")
	slot, a := h.slot("a")
	pub := h.trans.Publisher(0)
	key := ledger.NewKeyer(h.vault.KeySecret()).UniqueID("large")
	err := pub.Put(t.Context(), &mailferryv1.FetchedMessage{
		AccountUid: a.UID, Domain: a.Domain, Name: a.Name, Key: string(key), Epoch: "e1", Slot: string(slot),
	}, strings.NewReader("Subject: large\r\n\r\n"+strings.Repeat("x", 2<<20)), func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(err, pub.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	intake, err := h.trans.Lanes(t.Context(), transit.LaneConfig{Prefetch: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(intake.Stop)
	p, err := intake.Next(t.Context())
	if err != nil || p.GetObject() == "" {
		t.Fatal(err, p.GetObject())
	}
	if err := h.trans.Bury(t.Context(), &mailferryv1.DeadLetter{BuriedAt: now(), Message: p.Message}); err != nil {
		t.Fatal(err)
	}
	got, err := h.dead.GetDead(t.Context(), &mailferryv1.GetDeadRequest{Id: a.UID + "/" + string(key)})
	if err != nil || string(got.GetHeader()) != "Subject: large" {
		t.Errorf("%q %v", got.GetHeader(), err)
	}
}

func TestADeadLetterWithoutABodyIsFetchedAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("a")
	id := h.park("a", "u1")
	e, err := h.trans.GetDead(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	e.GetLetter().GetMessage().Content = &mailferryv1.FetchedMessage_Object{Object: strings.Replace(id, "/", ".", 1) + ".gone"}
	if err := h.trans.Bury(t.Context(), e.GetLetter()); err != nil {
		t.Fatal(err)
	}
	out, err := h.retry(id)
	if err != nil || out != "body-gone: fetched by the next run" || h.isDead(id) {
		t.Fatalf("%s %v", out, err)
	}
	slot, a := h.slot("a")
	if c, err := h.led.State(t.Context(), slot, a.UID); err != nil || c.Parked != 0 {
		t.Errorf("%+v %v", c, err)
	}
}

func TestALetterOfARemovedAccountIsNotRetried(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("a")
	id := h.park("a", "u1")
	if err := h.dir.DeleteAccount(t.Context(), "example.com", "a", 0); err != nil {
		t.Fatal(err)
	}
	h.add("a") // of the same name
	all, err := h.dead.ListDead(t.Context(), &mailferryv1.ListDeadRequest{})
	if err != nil || !all.GetEntries()[0].GetAccountGone() {
		t.Errorf("%v %v", all, err)
	}
	_, err = h.retry(id)
	wantError(t, err, connect.CodeFailedPrecondition, fault.Policy, "dead drop "+id)
}

func TestAPoisonJobIsRetriedAsAFreshOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.add("a")
	if err := h.trans.Bury(t.Context(), &mailferryv1.DeadLetter{JobId: "j9", AccountUid: a.GetUid(), Domain: "example.com", Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if out, err := h.retry(a.GetUid() + "/job-j9"); err != nil || out != "queued" || h.isDead(a.GetUid()+"/job-j9") {
		t.Errorf("%s %v", out, err)
	}
	ran := make(chan string, 1)
	h.work(func(ctx context.Context, c *queue.Claim) {
		h.ack(ctx, c)
		ran <- c.AccountUID
	})
	if uid := <-ran; uid != a.GetUid() {
		t.Errorf("ran %s", uid)
	}
}
