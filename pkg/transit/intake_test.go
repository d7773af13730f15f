package transit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/testenv"
)

func emptyDir(t *testing.T, dir string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if err := os.RemoveAll(f); err != nil {
			t.Fatal(err)
		}
	}
}

// domainIn returns a domain of the lane.
func domainIn(lane int) string {
	for i := 0; ; i++ {
		if d := fmt.Sprintf("d%d.example", i); Lane(d) == lane {
			return d
		}
	}
}

// fill puts count messages for a domain.
func (h *house) fill(domain, uid string, count, size int) {
	h.t.Helper()
	p := h.Publisher(0)
	var c collect
	for i := range count {
		m := message(uid, fmt.Sprintf("p%d", i))
		m.Domain = domain
		if err := p.Put(h.ctx, m, bytes.NewReader(bodyOf(size, 1)), c.done("all")); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := p.Flush(h.ctx); err != nil {
		h.t.Fatal(err)
	}
	for _, err := range c.got["all"] {
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

func TestLaneIsStable(t *testing.T) {
	t.Parallel()
	for domain, want := range map[string]int{"example.com": 6, "EXAMPLE.com": 6, "": 5, "example.org": 1} {
		if got := Lane(domain); got != want {
			t.Errorf("lane of %q is %d, want %d", domain, got, want)
		}
	}
}

func TestFewAreNotBehindMany(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.fill(domainIn(3), "many", 20_000, 10)
	in := h.intake(0)
	h.next(in)
	h.fill(domainIn(9), "few", 20, 10)
	at := 0
	var few []int
	for len(few) < 20 {
		p := h.next(in)
		if at++; p.GetAccountUid() == "few" {
			few = append(few, at)
		}
		if at > 5000 {
			t.Fatalf("of %d messages %d were of the small domain", at, len(few))
		}
		h.ack(p)
	}
	// The first has to arrive; from then on every other message is one of the few.
	if among := few[len(few)-1] - few[0]; among > 60 {
		t.Fatalf("20 came among %d: %v", among, few)
	}
}

func TestIdleIntakeIsQuick(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	in := h.intake(0)
	var best, worst time.Duration = time.Hour, 0
	for i := range 20 {
		m := message("acc", fmt.Sprintf("p%d", i))
		m.Domain = domainIn(i % laneCount)
		got := make(chan time.Time, 1)
		go func() {
			if p, err := in.Next(h.ctx); err == nil {
				got <- time.Now()
				_ = p.Ack(h.ctx)
			}
			close(got)
		}()
		begun := time.Now()
		h.mustPut(m, []byte("x"))
		at, ok := <-got
		if !ok {
			t.Fatal("no message")
		}
		best, worst = min(best, at.Sub(begun)), max(worst, at.Sub(begun))
	}
	t.Logf("from put to next: %v to %v", best, worst)
	if best > 100*time.Millisecond {
		t.Fatalf("the quickest took %v", best)
	}
}

func TestIdleIntakeCostsLittle(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	before := h.nats.Conn.Stats()
	h.intake(0)
	ctx, cancel := context.WithTimeout(h.ctx, 3*time.Second)
	defer cancel()
	<-ctx.Done()
	if sent := h.nats.Conn.Stats().OutMsgs - before.OutMsgs; sent > laneCount+2 {
		t.Fatalf("%d messages sent while idle", sent)
	}
}

func TestPrefetchIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	const size = 500 << 10
	h.fill(domainIn(1), "acc", 20, size)
	h.fill(domainIn(2), "acc2", 20, 100<<10)
	in := h.intake(0)
	waits := func(lane int) int {
		in.mu.Lock()
		defer in.mu.Unlock()
		return in.lanes[lane].bytes
	}
	for range 40 {
		testenv.Eventually(t, 30*time.Second, "something waits", func() bool { return waits(1)+waits(2) > 0 })
		for _, lane := range []int{1, 2} {
			if n := waits(lane); n > in.bytes {
				t.Fatalf("%d bytes of lane %d wait", n, lane)
			}
		}
		h.ack(h.next(in))
	}
}

// TestMessageAboveTheShare has messages larger than what a lane may prefetch: the inline limit was
// lowered.
func TestMessageAboveTheShare(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.fill("example.com", "acc", 3, 500<<10)
	h.cfg.Inline = 1000
	in := h.intake(0)
	for range 3 {
		h.ack(h.next(in))
	}
}

func TestNakDelays(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	in := h.intake(0)
	h.mustPut(message("acc", "p1"), nil)
	p := h.next(in)
	begun := time.Now()
	if err := p.Nak(h.ctx, 400*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := p.Ack(h.ctx); !errors.Is(err, ErrSettled) {
		t.Fatal("settled twice:", err)
	}
	p = h.next(in)
	if d := time.Since(begun); d < 390*time.Millisecond || d > 20*time.Second { // AckWait is 30 s
		t.Fatalf("came back after %v", d)
	}
	if p.Delivered != 2 {
		t.Fatal(p.Delivered)
	}
	begun = time.Now()
	if err := p.Nak(h.ctx, 0); err != nil {
		t.Fatal(err)
	}
	if p = h.next(in); time.Since(begun) > 20*time.Second {
		t.Fatalf("came back after %v", time.Since(begun))
	}
	h.ack(p)
}

func TestTermRemoves(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	in := h.intake(0)
	h.mustPut(message("acc", "p1"), nil)
	if err := h.next(in).Term(h.ctx, "no\r\nsense"); err != nil {
		t.Fatal(err)
	}
	if held, err := h.Held(h.ctx, "acc"); err != nil || len(held) != 0 {
		t.Fatal(held, err)
	}
}

func TestAckAsync(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{AckWait: time.Minute})
	in := h.intake(0)
	for name, body := range map[string]int{"inline": 10, "object": h.cfg.Inline + 1} {
		h.mustPut(message("acc", name), make([]byte, body))
		p := h.next(in)
		p.Keep(h.ctx)
		if err := p.AckAsync(h.ctx); err != nil {
			t.Fatal(name, err)
		}
		if err := p.AckAsync(h.ctx); !errors.Is(err, ErrSettled) {
			t.Fatal(name, "settled twice:", err)
		}
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			held, err := h.Held(h.ctx, "acc")
			if err == nil && len(held) == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatal(name, held, err)
			}
		}
	}
}

func TestAckWaitAndKeep(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{AckWait: 3 * time.Second})
	in := h.intake(0)
	h.mustPut(message("acc", "kept"), nil)
	kept := h.next(in)
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	kept.Keep(ctx)
	kept.Keep(ctx)
	h.mustPut(message("acc", "left"), nil)
	h.next(in)
	for range 2 { // each comes after one AckWait
		p := h.next(in)
		if p.GetKey() != "left" {
			t.Fatal("a kept message was handed out again")
		}
	}
	h.ack(kept)
	h.mustPut(message("acc", "kept"), nil)
	for {
		if p := h.next(in); p.GetKey() == "kept" {
			if p.Delivered != 1 {
				t.Fatal("an acked message came again")
			}
			return
		}
	}
}

// TestSettledIsQuiet listens to what is said of a kept parcel: nothing follows the settlement, which an
// "in progress" would undo.
func TestSettledIsQuiet(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{AckWait: 3 * time.Second})
	in := h.intake(0)
	h.mustPut(message("acc", "p1"), nil)
	p := h.next(in)
	heard, err := h.nats.Conn.SubscribeSync(p.crate.reply)
	if err != nil {
		t.Fatal(err)
	}
	p.Keep(h.ctx)
	for _, want := range []string{"+WPI", "+WPI"} {
		if m, err := heard.NextMsg(30 * time.Second); err != nil || string(m.Data) != want {
			t.Fatal(m, err)
		}
	}
	if err := p.Nak(h.ctx, time.Hour); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := heard.NextMsg(30 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data) != "+WPI" {
			break
		}
	}
	if m, err := heard.NextMsg(1500 * time.Millisecond); err == nil {
		t.Fatalf("%s follows the settlement", m.Data)
	}
}

func TestKeepEndsWithItsContext(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{AckWait: 400 * time.Millisecond})
	in := h.intake(0)
	h.mustPut(message("acc", "p1"), nil)
	p := h.next(in)
	ctx, cancel := context.WithCancel(h.ctx)
	p.Keep(ctx)
	cancel()
	if again := h.next(in); again.Delivered != 2 {
		t.Fatal(again.Delivered)
	}
}

func TestStopGivesBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.fill("example.com", "acc", 50, 10)
	first := h.intake(0)
	p := h.next(first)
	first.Stop()
	first.Stop()
	if _, err := first.Next(h.ctx); !errors.Is(err, ErrStopped) || fault.KindOf(err) != fault.Canceled {
		t.Fatal(err)
	}
	h.ack(p) // what was handed out stays valid
	begun := time.Now()
	second := h.intake(0)
	for range 49 {
		h.ack(h.next(second))
	}
	if d := time.Since(begun); d > 25*time.Second { // AckWait is 30 s
		t.Fatalf("the rest came after %v: not given back", d)
	}
}

func TestNextHonoursContextAndStop(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	in := h.intake(0)
	ctx, cancel := context.WithTimeout(h.ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := in.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := in.Next(h.ctx)
		ended <- err
	}()
	runtime.Gosched()
	in.Stop()
	if err := <-ended; !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
}

func TestStaleMessagesAreNotHandedOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{AckWait: 6 * time.Second})
	h.fill("example.com", "acc", 10, 10)
	in := h.intake(0)
	seen := map[string]int{}
	h.ack(h.next(in))
	<-time.After(5 * time.Second) // the others wait in the intake meanwhile
	for len(seen) < 9 {
		p := h.next(in)
		if age := time.Since(p.crate.arrived); age > 4500*time.Millisecond {
			t.Fatalf("a message that waited for %v was handed out", age)
		}
		seen[p.GetKey()]++
		h.ack(p)
	}
	for key, n := range seen {
		if n != 1 {
			t.Fatalf("%s came %d times", key, n)
		}
	}
}

func TestTwoIntakesShare(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	a, b := h.intake(4), h.intake(4)
	h.fill("example.com", "acc", 200, bundleBytes) // each alone: a bundle of which one was not handed out comes again whole
	seen := map[string]bool{}
	for n := range 200 {
		in := a
		if n%2 == 1 {
			in = b
		}
		p := h.next(in)
		if seen[p.GetKey()] {
			t.Fatal("twice:", p.GetKey())
		}
		seen[p.GetKey()] = true
		h.ack(p)
		if n == 180 {
			a.Stop()
			a = b
		}
	}
}

func TestRestartWhileIdle(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	in := h.intake(0)
	h.nats.Stop()
	h.nats.Start()
	begun := time.Now()
	h.mustPut(message("acc", "p1"), nil)
	h.ack(h.next(in))
	if d := time.Since(begun); d > 5*time.Second {
		t.Fatalf("took %v", d)
	}
}

func TestUnreadableMessageIsAParcel(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	in := h.intake(0)
	if _, err := h.nats.JS.Publish(h.ctx, mailPrefix+"5.acc.e1.p7", []byte{0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	p, err := in.Next(h.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if p.Err == nil || p.GetAccountUid() != "acc" || p.GetKey() != "p7" || p.GetEpoch() != "e1" {
		t.Fatalf("%v, %v", p.Err, p.Message)
	}
	if _, err := p.Open(h.ctx); err == nil {
		t.Fatal("it has a body")
	}
	if err := p.Term(h.ctx, "poison"); err != nil {
		t.Fatal(err)
	}
}
