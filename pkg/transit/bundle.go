package transit

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protowire"
)

// Small messages of one account and epoch travel together, a bundle in one message of TRANSIT: it costs the server less than
// the same ones alone. The keys stand in its subject, so that TRANSIT says of each whether it is held.
const (
	// bundleMost is how many messages a bundle holds, bundleBytes how many octets, at most; larger messages travel alone.
	bundleMost  = 16
	bundleBytes = 64 << 10
	// bundleField is the number of FetchedBundle.messages.
	bundleField = protowire.Number(1)
)

// bundle is what waits to be published together.
type bundle struct {
	prefix string // of the subject: all but the keys
	items  []bundled
	bytes  int
}

// bundled is a message of a bundle: its payload is buf from start on.
type bundled struct {
	key   string
	buf   []byte
	start int
	done  func(error)
}

func (b bundled) payload() []byte { return b.buf[b.start:] }

// add takes a message for which the window has made room along. It goes at once where nothing is on its way, else with those
// that come until there is an answer: the slower the server, the larger the bundles.
func (p *Publisher) add(prefix string, it bundled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	size := len(it.payload())
	if o := p.open; o != nil && (o.prefix != prefix || o.bytes+size > p.bundleBytes()) {
		p.depart()
	}
	if p.open == nil {
		p.open = &bundle{prefix: prefix}
	}
	p.open.items, p.open.bytes = append(p.open.items, it), p.open.bytes+size
	if p.away == 0 || len(p.open.items) == bundleMost {
		p.depart()
	}
}

// bundleBytes keeps a bundle below the payload of a message with the largest inline body.
func (p *Publisher) bundleBytes() int { return min(bundleBytes, p.t.cfg.Inline) }

// depart publishes what waits; the lock is held.
func (p *Publisher) depart() {
	b := p.open
	if b == nil {
		return
	}
	p.open = nil
	p.away++
	buf, start := b.items[0].buf, b.items[0].start
	subject := b.prefix + b.items[0].key
	if len(b.items) > 1 {
		subject, buf, start = b.subject(), b.join(p.t.pool), 0
	}
	p.w.launch(&flight{msg: nats.Msg{Subject: subject, Data: buf[start:]}, count: len(b.items), cost: b.bytes, done: func(r result) {
		p.t.pool.put(buf)
		err := failure("transit publish", r.err)
		for _, it := range b.items {
			it.done(err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.away--; p.away == 0 {
			p.depart()
		}
	}})
}

func (b *bundle) subject() string {
	keys := make([]string, len(b.items))
	for i, it := range b.items {
		keys[i] = it.key
	}
	return b.prefix + strings.Join(keys, keySep)
}

// join makes the payload, a FetchedBundle, and gives the buffers of the messages back.
func (b *bundle) join(p *pool) []byte {
	out := p.get(b.bytes + len(b.items)*tagRoom)
	for _, it := range b.items {
		out = protowire.AppendTag(out, bundleField, protowire.BytesType)
		out = protowire.AppendBytes(out, it.payload())
		p.put(it.buf)
	}
	return out
}

// cutBundle returns the payloads of the messages of a bundle, which stay part of data.
func cutBundle(data []byte, want int) ([][]byte, error) {
	parts := make([][]byte, 0, want)
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 || num != bundleField || typ != protowire.BytesType || len(parts) == want {
			return nil, errBundle
		}
		part, k := protowire.ConsumeBytes(data[n:])
		if k < 0 {
			return nil, errBundle
		}
		parts, data = append(parts, part[:len(part):len(part)]), data[n+k:]
	}
	if len(parts) != want {
		return nil, errBundle
	}
	return parts, nil
}

var errBundle = errors.New("the payload is no bundle of these messages")

// Flush waits until done was called for everything that was put.
func (p *Publisher) Flush(ctx context.Context) error {
	p.mu.Lock()
	p.depart()
	p.mu.Unlock()
	return failure("transit flush", p.w.flush(ctx))
}
