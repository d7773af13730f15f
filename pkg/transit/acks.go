package transit

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// acks receives the PubAcks of all windows with one subscription and hands each to its window.
type acks struct {
	prefix string
	sub    *nats.Subscription

	mu      sync.RWMutex
	last    uint64
	windows map[string]*window
}

func newAcks(nc *nats.Conn) (*acks, error) {
	a := &acks{prefix: nc.NewInbox() + ".", windows: map[string]*window{}}
	var err error
	a.sub, err = nc.Subscribe(a.prefix+"*.*", a.receive)
	return a, err
}

func (a *acks) close() { _ = a.sub.Unsubscribe() }

// join makes a window known; it returns the token by which its replies find it.
func (a *acks) join(w *window) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	id := strconv.FormatUint(a.last, 36)
	a.windows[id] = w
	return id
}

func (a *acks) leave(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.windows, id)
}

func (a *acks) receive(m *nats.Msg) {
	window, flight, ok := strings.Cut(strings.TrimPrefix(m.Subject, a.prefix), ".")
	if !ok {
		return
	}
	id, err := strconv.ParseUint(flight, 36, 64)
	if err != nil {
		return
	}
	a.mu.RLock()
	w := a.windows[window]
	a.mu.RUnlock()
	if w != nil {
		w.push(reply{id, m, nil})
	}
}

// readAck reads a PubAck.
func readAck(data []byte) (uint64, error) {
	if seq, ok := plainAck(data); ok {
		return seq, nil
	}
	var ack struct {
		apiResponse
		Stream string `json:"stream"`
		Seq    uint64 `json:"seq"`
	}
	if err := json.Unmarshal(data, &ack); err != nil || ack.Error == nil && ack.Stream == "" {
		return 0, jetstream.ErrInvalidJSAck
	}
	if ack.Error != nil {
		return 0, refusal(ack.Error)
	}
	return ack.Seq, nil
}

// plainAck reads a PubAck that says stream and sequence and nothing else, which is what nearly all say.
func plainAck(data []byte) (uint64, bool) {
	rest, ok := bytes.CutPrefix(data, []byte(`{"stream":"`))
	stream, rest, quoted := bytes.Cut(rest, []byte(`","seq":`))
	digits, closed := bytes.CutSuffix(rest, []byte("}"))
	if !ok || !quoted || !closed || len(stream) == 0 || bytes.IndexByte(stream, '"') >= 0 {
		return 0, false
	}
	seq, err := strconv.ParseUint(string(digits), 10, 64)
	return seq, err == nil
}
