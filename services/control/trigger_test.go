package control_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/mailferry/mailferry/services/control"
)

// serveTriggers has the house answer triggers over NATS until the test ends.
func (h *house) serveTriggers() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h.svc.Run(ctx); err != nil {
			h.t.Error(err)
		}
	})
	h.t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	testenv.Eventually(h.t, 30*time.Second, "control answers triggers", func() bool {
		return strings.Contains(h.request(`{}`), "INVALID")
	})
}

// request sends a request over NATS and returns the answer.
func (h *house) request(request string) string {
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	m, err := h.nats.Conn.RequestWithContext(ctx, "ferry.v1.trigger", []byte(request))
	if err != nil {
		return err.Error()
	}
	return string(m.Data)
}

// trigger asks for a run, and returns the answer.
func (h *house) trigger(request string) *mailferryv1.TriggerResponse {
	h.t.Helper()
	var out mailferryv1.TriggerResponse
	if a := h.request(request); protojson.Unmarshal([]byte(a), &out) != nil {
		h.t.Fatalf("%s is answered by %q", request, a)
	}
	return &out
}

func wantOutcome(t *testing.T, r *mailferryv1.TriggerResponse, want string, words ...string) {
	t.Helper()
	if got := strings.TrimPrefix(r.GetOutcome().String(), "TRIGGER_OUTCOME_"); got != want {
		t.Fatalf("%s, want %s: %v", got, want, r)
	}
	for _, w := range words {
		if !strings.Contains(r.GetMessage(), w) {
			t.Errorf("%q lacks %q", r.GetMessage(), w)
		}
	}
}

func TestATriggerOverNATSIsAnswered(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(_ *control.Deps, c *control.Config) { c.Triggers = 6 })
	a := h.add("a")
	off := sample("off")
	off.Active = false
	if _, err := h.accounts.CreateAccount(t.Context(), &mailferryv1.CreateAccountRequest{Account: off, Password: canary}); err != nil {
		t.Fatal(err)
	}
	h.serveTriggers()
	wantOutcome(t, h.trigger(`{"domain":"example.com","name":"nobody"}`), "UNKNOWN", "example.com/nobody", "account list")
	wantOutcome(t, h.trigger(`{"domain":"example.com","name":"off"}`), "INACTIVE", "example.com/off")
	for _, wrong := range []string{`{}`, `{"domain":"example.com","all":true}`, `{"nonsense":1}`, `{"requestId":"a b","all":true}`, "\xff", `{"domain":"no domain"}`} {
		wantOutcome(t, h.trigger2(wrong), "INVALID")
	}

	first := h.trigger(`{"requestId":"r-1","domain":"Example.com","name":"a"}`)
	wantOutcome(t, first, "ACCEPTED")
	if first.GetJobId() == "" || first.GetAccountUid() != a.GetUid() || first.GetRequestId() != "r-1" {
		t.Errorf("%v", first)
	}
	again := h.trigger(`{"domain":"example.com","name":"a"}`) // queued already
	wantOutcome(t, again, "ALREADY_RUNNING")
	if again.GetJobId() != first.GetJobId() {
		t.Errorf("served by %s, and %s is queued", again.GetJobId(), first.GetJobId())
	}
	ran := make(chan string, 9)
	h.work(func(ctx context.Context, c *queue.Claim) {
		h.run(ctx, c, 1)
		ran <- c.ID
	})
	if id := <-ran; id != first.GetJobId() {
		t.Errorf("%s ran", id)
	}
	same := h.trigger(`{"requestId":"r-1","domain":"example.com","name":"a"}`)
	wantOutcome(t, same, "ACCEPTED") // as the first time, and nothing is queued
	if same.GetJobId() != first.GetJobId() {
		t.Errorf("%v", same)
	}
	api, err := h.runs.Trigger(t.Context(), &mailferryv1.TriggerRequest{Domain: "example.com", Name: "a", RequestId: "r-2"})
	if err != nil {
		t.Fatal(err)
	}
	wantOutcome(t, api, "ACCEPTED")
	if id := <-ran; id != api.GetJobId() {
		t.Errorf("%s ran after %s: the request that came again was carried out again", id, first.GetJobId())
	}
	for range 3 {
		h.trigger(`{"requestId":"r-2","domain":"example.com","name":"a"}`)
	}
	over := h.trigger(`{"domain":"example.com","name":"a"}`)
	wantOutcome(t, over, "LIMITED", "used up its triggers")
	if until := time.Until(over.GetRetryAt().AsTime()); until <= 0 || until > 10*time.Second {
		t.Errorf("again in %v", until)
	}
	if strings.Contains(h.log.String(), canary) {
		t.Error("the log holds the password")
	}
}

// trigger2 is trigger for requests of which the answer may be in protobuf.
func (h *house) trigger2(request string) *mailferryv1.TriggerResponse {
	h.t.Helper()
	var out mailferryv1.TriggerResponse
	a := []byte(h.request(request))
	if protojson.Unmarshal(a, &out) != nil && proto.Unmarshal(a, &out) != nil {
		h.t.Fatalf("%q is answered by %q", request, a)
	}
	return &out
}

// TestATriggerOfManyIsCarriedOut asks for all of a domain while no control runs; then one, with a small budget, carries it out.
func TestATriggerOfManyIsCarriedOut(t *testing.T) {
	t.Parallel()
	const n = 30
	h := newHouse(t, func(_ *control.Deps, c *control.Config) { c.Triggers = 240 })
	for i := range n {
		h.planned(h.add(fmt.Sprintf("a%d", i)))
	}
	var mu sync.Mutex
	runs := map[string]int{}
	h.work(func(ctx context.Context, c *queue.Claim) {
		mu.Lock()
		runs[c.Name]++
		mu.Unlock()
		kind := fault.None
		if c.Name == "a7" {
			kind = fault.Auth
		}
		if _, err := h.due.Settle(ctx, c.AccountUID, due.Ended{Kind: kind, At: time.Now()}); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		h.run(ctx, c, 0)
	})
	ask := &mailferryv1.TriggerRequest{RequestId: "all-1", Domain: "example.com"}
	for range 2 { // the second one is known
		if err := h.queue.PublishTrigger(t.Context(), ask); err != nil {
			t.Fatal(err)
		}
	}
	h.serveTriggers()
	each := func(want int) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			sum := 0
			for _, k := range runs {
				sum += k
			}
			return sum == want
		}
	}
	testenv.Eventually(t, 60*time.Second, "each account runs once", each(n))
	testenv.Eventually(t, 60*time.Second, "the failed one is known", func() bool {
		e, _, err := h.due.Get(t.Context(), h.uid("a7"))
		return err == nil && e.Kind == fault.Auth
	})
	wantOutcome(t, h.trigger(`{"requestId":"failing-1","all":true,"failing":true}`), "ACCEPTED")
	testenv.Eventually(t, 60*time.Second, "the failed one runs again", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return runs["a7"] == 2
	})
	if !each(n + 1)() {
		t.Errorf("runs %v", runs)
	}
}

func (h *house) uid(name string) string {
	h.t.Helper()
	res, err := h.accounts.GetAccount(h.t.Context(), &mailferryv1.GetAccountRequest{Ref: ref(name)})
	if err != nil {
		h.t.Fatal(err)
	}
	return res.GetAccount().GetUid()
}

// TestManyWaitForTheBudgetOfTheirDomain triggers more than the domain may have at once.
func TestManyWaitForTheBudgetOfTheirDomain(t *testing.T) {
	t.Parallel()
	const n = 40
	h := newHouse(t, func(_ *control.Deps, c *control.Config) { c.Triggers = 10 })
	for i := range n {
		h.planned(h.add(fmt.Sprintf("a%d", i)))
	}
	s, err := h.runs.FetchMany(t.Context(), &mailferryv1.FetchManyRequest{Domain: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if !s.Receive() || s.Msg().GetTriggered() != 10 || s.Msg().GetHeld() != n-10 {
		t.Errorf("%v, %v", s.Msg(), s.Err())
	}
	_, err = h.fetch(t.Context(), "a0")
	wantError(t, err, connect.CodeResourceExhausted, fault.Throttled, "example.com has used up its triggers")
	if !s.Receive() || s.Msg().GetTriggered() < 10 {
		t.Errorf("it ended: %v, %v", s.Msg(), s.Err())
	}
}
