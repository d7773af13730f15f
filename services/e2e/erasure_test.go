package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/notice"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/testenv"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// eraseTime is what docs/operations.md promises.
const eraseTime = time.Minute

// TestErasure leaves something of an account in every place there is, deletes it while a message of it is being handed over,
// and looks everywhere until nothing is left but the two tombstones.
func TestErasure(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	const user, word = "vanisher", "zanzibar"
	letter := func(what string, size int) {
		remote.Append(user, fmt.Appendf(nil, "From: a@example.org\r\nSubject: %s %s\r\nX-Seed-Id: %s\r\n\r\n%s\r\n", word, what, what,
			strings.Repeat("0123456789\r\n", size/12)))
	}
	for _, what := range []string{"good", "bad", "later", "slow"} {
		letter(what, 1000)
		letter(what+"-large", 700<<10) // its body lies in BODIES
	}
	a := h.account("vanishing", user, account.IMAP, account.Leave, func(a *account.Account) {
		a.MaxMessagesPerDay, a.Notify = 1000, true
	})
	slow, began := make(chan struct{}), make(chan struct{}, 10)
	s.decide(func(raw []byte) error {
		head := string(raw[:min(len(raw), 2000)])
		switch {
		case strings.Contains(head, "bad"):
			return permanent()
		case strings.Contains(head, "slow"):
			began <- struct{}{}
			<-slow
			return permanent() // a dead letter of somebody who is gone
		case strings.Contains(head, "good"):
			return nil
		}
		return temporary() // and notices
	})
	cli := h.control()
	h.start("planner")
	worker, delivery := h.start("worker"), h.start("delivery")
	h.trigger(a, "first", queue.Manual)
	testenv.Eventually(t, 2*time.Minute, "some is delivered, some dead, some in transit", func() bool {
		st, err := h.transit.Stats(context.Background())
		return err == nil && st.Dead == 2 && st.Messages == 4 && len(s.copies(a.ForwardTo)) == 2 && len(began) == 2
	})
	worker.signal(syscall.SIGSTOP) // in the middle of a run, which waits for receipts
	testenv.Eventually(t, 10*time.Second, "the worker is stopped", worker.stopped)
	h.leave(a)
	before := h.everywhere(a.UID, a.Name, user, word)
	for _, place := range []string{
		"redis string ferry:oauth:", "redis zset ferry:due:", "redis hash ferry:due:", "redis hash mf:day:", "redis hash mf:{", "redis string ferry:oauth:",
		"stream TRANSIT", "stream OBJ_BODIES", "stream DEAD", "stream RUNS", "stream JOBS", "stream NOTICES",
		"stream KV_ACCOUNTS", "stream KV_COLLECTIONS", "stream KV_CREDENTIALS",
	} {
		if !slices.ContainsFunc(before, func(s string) bool { return strings.HasPrefix(s, place) }) {
			t.Errorf("nothing is found in %s, where something should be", place)
		}
	}
	cli.ok("account", "remove", a.Ref(), "--yes")
	start := time.Now()
	close(slow) // two more dead letters
	worker.signal(syscall.SIGCONT)
	testenv.Eventually(t, 2*time.Minute, "the run and the hand-overs have ended", func() bool {
		return worker.says(`"msg":"run`) > 0 && delivery.says(`"dead letter"`) == 4
	})
	for ended := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		left := slices.DeleteFunc(h.everywhere(a.UID, a.Name, user, word), func(place string) bool {
			return strings.HasPrefix(place, "stream KV_ACCOUNTS ") || strings.HasSuffix(place, ":"+a.UID+":meta") // the tombstones
		})
		if len(left) == 0 {
			break
		}
		if time.Since(ended) > eraseTime {
			t.Fatalf("left after %v:\n%s", eraseTime, strings.Join(left, "\n"))
		}
	}
	t.Logf("%d places, erased in %v", len(before), time.Since(start).Round(time.Millisecond))
}

// TestErasureByDeliveryAlone: what a hand-over writes of an account that was deleted meanwhile the delivery removes itself; there
// is no worker any more that could.
func TestErasureByDeliveryAlone(t *testing.T) {
	t.Parallel()
	acquire(t)
	remote := testenv.NewDovecot(t)
	h, s := newHouse(t, remote), newSink(t)
	h.destination(s.destination())
	const user = "vanishes"
	for _, size := range []int{1000, 700 << 10} { // a body in the letter, one in BODIES
		remote.Append(user, fmt.Appendf(nil, "Subject: %s\r\n\r\n%s\r\n", user, strings.Repeat("0123456789\r\n", size/12)))
	}
	a := h.account("gone", user, account.IMAP, account.Leave)
	refuse, began := make(chan struct{}), make(chan struct{}, 2)
	s.decide(func([]byte) error {
		began <- struct{}{}
		<-refuse
		return permanent()
	})
	cli := h.control()
	worker, delivery := h.start("worker"), h.start("delivery")
	h.trigger(a, "first", queue.Scheduled)
	testenv.Eventually(t, 2*time.Minute, "both are being handed over, and the run has ended", func() bool {
		return len(began) == 2 && h.counts(a).Job == ""
	})
	worker.kill()
	cli.ok("account", "remove", a.Ref(), "--yes")
	close(refuse)
	testenv.Eventually(t, 2*time.Minute, "both were buried", func() bool { return delivery.says(`"dead letter"`) == 2 })
	testenv.Eventually(t, 2*time.Minute, "nothing is left of them", func() bool {
		return !slices.ContainsFunc(h.everywhere(a.UID), func(place string) bool {
			return strings.HasPrefix(place, "stream DEAD") || strings.HasPrefix(place, "stream TRANSIT") || strings.HasPrefix(place, "stream OBJ_BODIES")
		})
	})
}

// says counts a word in the log.
func (p *proc) says(word string) int {
	text, _ := os.ReadFile(p.log)
	return bytes.Count(text, []byte(word))
}

// leave puts what no run of this test has: OAuth, a run report, and a notice.
func (h *house) leave(a account.Account) {
	h.t.Helper()
	ctx := context.Background()
	sealed, err := h.vault.Seal("secret", "oauth:"+a.UID)
	if err == nil {
		_, err = h.book.PutCredential(ctx, a.UID, []byte(sealed), 0)
	}
	for _, what := range []string{"token", "lock"} {
		if err == nil {
			err = h.redis.Client.Set(ctx, "ferry:oauth:{"+a.UID+"}:"+what, sealed, time.Hour).Err()
		}
	}
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.queue.PutReport(ctx, &queue.Report{RunId: "r0", AccountUid: a.UID, Domain: a.Domain, Name: a.Name}); err != nil {
		h.t.Fatal(err)
	}
	n, err := notice.Open(ctx, h.nats.Conn, h.nats.JS, notice.Config{})
	if err == nil {
		err = n.Publish(ctx, &mailferryv1.Notice{Id: "ntc_1", At: timestamppb.Now(), AccountUid: a.UID, Domain: a.Domain, Name: a.Name})
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// everywhere names the places in Redis and JetStream in which one of the words stands, as it is or as in a subject.
func (h *house) everywhere(words ...string) (places []string) {
	h.t.Helper()
	ctx := context.Background()
	found := func(place string, texts ...[]byte) {
		for _, text := range texts {
			for _, w := range words {
				if bytes.Contains(text, []byte(w)) {
					places = append(places, place)
					return
				}
			}
		}
	}
	keys := h.redis.Client.Scan(ctx, 0, "", 1000).Iterator()
	for keys.Next(ctx) {
		kind, value := h.dump(keys.Val())
		found("redis "+kind+" "+keys.Val(), []byte(keys.Val()), value)
	}
	if err := keys.Err(); err != nil {
		h.t.Fatal(err)
	}
	streams := h.nats.JS.ListStreams(ctx)
	for info := range streams.Info() {
		s, err := h.nats.JS.Stream(ctx, info.Config.Name)
		if err != nil {
			h.t.Fatal(err)
		}
		for seq, next := uint64(0), info.State.FirstSeq; ; next = seq + 1 {
			m, err := s.GetMsg(ctx, next, jetstream.WithGetMsgSubject(">"))
			if err != nil {
				break // none is left
			}
			seq = m.Sequence
			found(fmt.Sprintf("stream %s %s", info.Config.Name, m.Subject), []byte(m.Subject), []byte(fmt.Sprint(m.Header)), m.Data)
		}
	}
	if err := streams.Err(); err != nil {
		h.t.Fatal(err)
	}
	return places
}

// dump returns the type and all of the value of a key.
func (h *house) dump(key string) (kind string, value []byte) {
	ctx, r := context.Background(), h.redis.Client
	kind, err := r.Type(ctx, key).Result()
	if err != nil {
		h.t.Fatal(err)
	}
	switch kind {
	case "hash":
		return kind, []byte(fmt.Sprint(r.HGetAll(ctx, key).Val()))
	case "zset":
		return kind, []byte(fmt.Sprint(r.ZRange(ctx, key, 0, -1).Val()))
	case "set":
		return kind, []byte(fmt.Sprint(r.SMembers(ctx, key).Val()))
	case "list":
		return kind, []byte(fmt.Sprint(r.LRange(ctx, key, 0, -1).Val()))
	}
	return kind, []byte(r.Get(ctx, key).Val())
}
