package transit

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/mailferry/mailferry/pkg/fault"
)

const (
	defaultPrefetch = 32
	// A pull waits this long at the server, which says every pullBeat that it still has it. A pull that
	// is silent for longer than pullSilence is lost.
	pullExpires = time.Minute
	pullBeat    = 10 * time.Second
	pullSilence = 25 * time.Second
	// pullPause is the rest after a refusal.
	pullPause = 500 * time.Millisecond
	// watchEvery is how often the intake looks after its pulls.
	watchEvery = 250 * time.Millisecond
	// pingEvery is how often an intake that hears nothing asks whether the stream is still the one it
	// pulls from: a stream that is deleted takes the pulls along without a word.
	pingEvery   = 2 * time.Second
	stopTimeout = 2 * time.Second
)

// LaneConfig bounds an intake.
type LaneConfig struct {
	// Prefetch is how many messages of one lane wait here at most, beside what is handed out; 32 by
	// default. Their bytes are bounded too, by one message of the largest size a lane: 16 × (inline
	// limit + 64 KiB) in all.
	Prefetch int
}

// Intake hands out the messages of all lanes, one lane after the other.
//
// Each lane has one long pull at the server, so an idle intake costs a few heartbeats. A message that
// waited here for half of AckWait is given back, so that nobody works on one that is handed out again.
type Intake struct {
	t     *Transit
	sub   *nats.Subscription
	inbox string
	most  int // messages of a lane
	bytes int // of a lane

	mu      sync.Mutex
	lanes   [laneCount]lane
	turn    int
	pulls   uint64
	conn    uint64 // reconnects when the pulls were sent
	heard   time.Time
	missing bool // a consumer was not there
	stopped bool

	// What the watch alone knows: the birth of the stream, how often it was made again by this process.
	created time.Time
	mends   uint64

	some   chan struct{} // something is there to take
	ended  chan struct{} // closed by Stop
	cancel context.CancelFunc
	watch  chan struct{} // closed when the watch has ended
}

// Lanes opens an intake. ctx bounds the opening only; Stop ends it.
func (t *Transit) Lanes(ctx context.Context, cfg LaneConfig) (*Intake, error) {
	if cfg.Prefetch <= 0 {
		cfg.Prefetch = defaultPrefetch
	}
	i := &Intake{
		t: t, inbox: t.nc.NewInbox(), most: cfg.Prefetch, bytes: t.cfg.Inline + payloadRoom,
		some: make(chan struct{}, 1), ended: make(chan struct{}), watch: make(chan struct{}),
	}
	var err error
	if i.sub, err = t.nc.Subscribe(i.inbox+".*.*", i.receive); err != nil {
		return nil, failure("transit lanes", err)
	}
	if err := t.flushConn(ctx); err != nil {
		_ = i.sub.Unsubscribe()
		return nil, failure("transit lanes", err)
	}
	i.mu.Lock()
	i.conn = t.nc.Stats().Reconnects
	i.pullAll(time.Now())
	i.mu.Unlock()
	watch, cancel := context.WithCancel(context.Background())
	i.cancel = cancel
	go i.watchPulls(watch)
	return i, nil
}

// Next returns the next message, of the lanes in turn. It waits until there is one, ctx ends or the
// intake is stopped; streams and consumers that are gone meanwhile are made again.
func (i *Intake) Next(ctx context.Context) (*Parcel, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, failure("transit next", err)
		}
		m, stopped := i.take(time.Now())
		switch {
		case stopped:
			return nil, fault.New(fault.Canceled, "transit next", ErrStopped)
		case m != nil:
			return m.parcel(), nil
		}
		select {
		case <-i.some:
		case <-i.ended:
		case <-ctx.Done():
		}
	}
}

// take takes the oldest message of the next lane that has one.
func (i *Intake) take(now time.Time) (m *waiting, stopped bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stopped {
		return nil, true
	}
	for range laneCount {
		n := i.turn
		i.turn = (n + 1) % laneCount
		m := i.takeOf(n, now)
		i.pull(n, now)
		if m != nil {
			i.signal()
			return m, false
		}
	}
	return nil, false
}

// takeOf takes the oldest message of a lane that did not wait too long.
func (i *Intake) takeOf(n int, now time.Time) *waiting {
	for {
		m := i.lanes[n].pop()
		if m == nil {
			return nil
		}
		switch age := now.Sub(m.arrived); {
		case age <= i.t.cfg.AckWait/2, m.kept():
			return m
		case age < i.t.cfg.AckWait*9/10:
			m.giveBack()
		}
		// Older ones are handed out again by the server on its own.
	}
}

// signal wakes one Next if anything is left to take; the lock is held.
func (i *Intake) signal() {
	for n := range i.lanes {
		if len(i.lanes[n].queue) > 0 {
			select {
			case i.some <- struct{}{}:
			default:
			}
			return
		}
	}
}

// pullAll sends a pull for every lane that has none and needs one; the lock is held.
func (i *Intake) pullAll(now time.Time) {
	for n := range i.lanes {
		i.pull(n, now)
	}
}

// pull asks for more of a lane if that is due; the lock is held.
func (i *Intake) pull(n int, now time.Time) {
	l := &i.lanes[n]
	if i.stopped || l.asked > 0 || now.Before(l.notBefore) {
		return
	}
	batch, bytes := l.want(i.most, i.bytes)
	if batch == 0 {
		return
	}
	req, err := json.Marshal(struct {
		Expires time.Duration `json:"expires"`
		Batch   int           `json:"batch"`
		Bytes   int           `json:"max_bytes,omitempty"`
		Beat    time.Duration `json:"idle_heartbeat"`
	}{pullExpires, batch, bytes, pullBeat})
	if err != nil {
		return
	}
	i.pulls++
	l.begin(i.pulls, batch, bytes, now)
	reply := i.inbox + "." + strconv.Itoa(n) + "." + strconv.FormatUint(i.pulls, 36)
	subject := i.t.api + "CONSUMER.MSG.NEXT." + transitStream + "." + laneName(n)
	if err := i.t.nc.PublishRequest(subject, reply, req); err != nil {
		l.end(now.Add(pullPause))
	}
}

// receive takes messages and the words of the server about pulls.
func (i *Intake) receive(m *nats.Msg) {
	now := time.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.heard = now
	if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 {
		i.hear(m, status, now)
		return
	}
	a, ok := parseMailSubject(m.Subject)
	if !ok || i.stopped {
		_ = i.t.nc.Publish(m.Reply, []byte("-NAK"))
		return
	}
	i.lanes[a.lane].push(m, i.t.unpack(m, a, now), now)
	i.signal()
	i.pull(a.lane, now)
}

// hear reads what the server says about a pull; the lock is held.
func (i *Intake) hear(m *nats.Msg, status string, now time.Time) {
	laneToken, pull, ok := strings.Cut(strings.TrimPrefix(m.Subject, i.inbox+"."), ".")
	n := laneOf(laneToken)
	if !ok || n < 0 {
		return
	}
	l := &i.lanes[n]
	if strconv.FormatUint(l.pull, 36) != pull {
		return
	}
	text := m.Header.Get("Description")
	switch {
	case status == "100":
		l.heard = now
		return
	case status == "503", strings.Contains(text, "Consumer Deleted"):
		i.missing = true
		l.end(now.Add(pullPause))
	case strings.Contains(text, "Exceeds MaxBytes"):
		l.tooBig()
		l.end(now)
	case status == "408", strings.Contains(text, "Batch Completed"):
		l.end(now)
	default: // a change of leader, a server that shuts down, a limit
		l.end(now.Add(pullPause))
	}
	i.pull(n, now)
}
