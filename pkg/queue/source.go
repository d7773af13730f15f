package queue

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/nats-io/nats.go"
)

// source is one consumer as one worker sees it. Its fields are guarded by the lock of its claims,
// except those that never change.
type source struct {
	c        *Claims
	next     string // subject of requests
	prefetch int    // how many jobs may be asked for or in hand
	base     string // inbox
	sub      *nats.Subscription
	closed   chan struct{} // closed when the subscription is

	era     int       // counts the requests that were forgotten or ended: an answer to an older one is void
	probe   bool      // the one request that stands is answered at once, with what is there or that there is none
	asked   int       // jobs asked for that have not come
	drained time.Time // when the server last said that there is none
	held    []held    // jobs in hand, oldest first
	heard   time.Time // when the server was last heard of
	broken  bool      // consumer or stream may be gone
}

// held is a job in hand.
type held struct {
	src   *source
	msg   *nats.Msg
	since time.Time
}

func newSource(c *Claims, consumer string, prefetch int) *source {
	return &source{
		c: c, prefetch: prefetch, base: c.q.nc.NewInbox(), closed: make(chan struct{}),
		next: fmt.Sprintf("%sCONSUMER.MSG.NEXT.%s.%s", c.q.api, jobsStream, consumer),
	}
}

func (s *source) subscribe() error {
	sub, err := s.c.q.nc.Subscribe(s.base+".*", s.receive)
	if err != nil {
		return err
	}
	sub.SetClosedHandler(func(string) { close(s.closed) })
	s.sub = sub
	return nil
}

// drain ends the subscription after the server has confirmed that it sends no more.
func (s *source) drain(limit <-chan time.Time) {
	if s.sub == nil || s.sub.Drain() != nil {
		return
	}
	select {
	case <-s.closed:
	case <-limit:
	}
}

func (s *source) inbox() string { return s.base + "." + strconv.Itoa(s.era) }

// forget voids the requests that stand.
func (s *source) forget() {
	s.asked, s.broken, s.probe = 0, false, false
	s.era++
	s.c.nudge()
}

// heartbeat is how often the server shows that a request stands.
func (q *Queue) heartbeat() time.Duration {
	return min(5*time.Second, max(q.cfg.AckWait/6, 100*time.Millisecond))
}

// request asks the server for n jobs. An error shows as a server that is not heard.
func (s *source) request(n int, inbox string, probe bool) {
	beat := s.c.q.heartbeat()
	body := fmt.Sprintf(`{"batch":%d,"expires":%d,"idle_heartbeat":%d}`, n, int64(12*beat), int64(beat))
	if probe {
		body = fmt.Sprintf(`{"batch":%d,"no_wait":true}`, n)
	}
	_ = s.c.q.nc.PublishRequest(s.next, inbox, []byte(body))
}

// receive takes what the server sends: jobs, heartbeats, and the end of requests.
func (s *source) receive(m *nats.Msg) {
	now := time.Now()
	s.c.mu.Lock()
	s.heard = now
	if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 {
		s.status(m, status)
		s.c.mu.Unlock()
		return
	}
	if s.asked = max(0, s.asked-1); s.asked == 0 {
		s.probe = false
	}
	full := s == s.c.manual && s.c.free(s) <= len(s.held)
	if s.c.stopped || full {
		s.c.nudge()
		s.c.mu.Unlock()
		giveBack([]held{{s, m, now}})
		return
	}
	s.held = append(s.held, held{s, m, now})
	if s == s.c.manual {
		if !s.probe {
			s.c.manualUntil = time.Time{}
		}
		if meta, err := m.Metadata(); err == nil && meta.NumPending > 0 {
			s.c.manualUntil = now.Add(manualMore)
		}
	}
	s.c.broadcast()
	s.c.mu.Unlock()
}

// status takes a message that is no job.
func (s *source) status(m *nats.Msg, status string) {
	if m.Subject != s.inbox() || status == "100" { // of a request that is void; a heartbeat
		return
	}
	if s.probe && (status == "404" || status == "408") { // that was all
		s.forget()
		s.drained = time.Now()
		s.c.manualUntil = time.Time{}
		s.c.broadcast()
		return
	}
	if n, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages")); err == nil && (status == "408" || status == "409") {
		s.asked = max(0, s.asked-n)
	} else {
		// 503: nobody answers for the consumer. 409: it was deleted, or its leader changed.
		s.asked, s.probe, s.broken = 0, false, true
	}
	s.c.nudge()
}

// pop takes the oldest job in hand out of it. One that has been there so long that the server may have
// given it to another worker is dropped.
func (s *source) pop(now time.Time) (held, bool) {
	for len(s.held) > 0 {
		h := s.held[0]
		s.held = slices.Delete(s.held, 0, 1)
		if now.Before(h.trusted()) {
			return h, true
		}
	}
	return held{}, false
}

// surplus takes out of hand what has no slot or waits too long.
func (s *source) surplus(now time.Time, free int) []held {
	var back []held
	keep := s.held[:0]
	for _, h := range s.held {
		age := now.Sub(h.since)
		if age > s.c.q.cfg.AckWait/3 || len(keep) >= free && age > s.c.q.tick()/2 {
			back = append(back, h)
		} else {
			keep = append(keep, h)
		}
	}
	clear(s.held[len(keep):])
	s.held = keep
	return back
}

// trusted is until when the job is surely not with another worker. The server counts from a little
// before it came.
func (h held) trusted() time.Time { return h.since.Add(h.src.c.q.trust()) }

// trust is how long a job surely stays after the server has heard of its worker.
func (q *Queue) trust() time.Duration { return q.cfg.AckWait - q.cfg.AckWait/10 }

// giveBack hands jobs to the next request that stands. One that does not reach the server comes
// back after AckWait.
func giveBack(jobs []held) {
	for _, h := range jobs {
		if time.Now().Before(h.trusted()) && jsapi.Online(h.src.c.q.nc) == nil {
			_ = h.src.c.q.nc.Publish(h.msg.Reply, []byte("-NAK"))
		}
	}
}
