package transit

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

const (
	// receiptKeys is how many keys one message takes.
	receiptKeys = 500
	// receiptBuffer is how many keys wait for a slow reader; the oldest go first. An account has far fewer in
	// flight.
	receiptBuffer = 64 << 10
)

// Receipt says that the message of a key was accepted by its destination, and what decided who gets it: "" if that is not
// said.
type Receipt struct{ Key, Fate string }

// SendReceipt tells whoever follows the account that these keys were accepted by their destination.
// It is a hint on core NATS: nobody may be listening.
func (t *Transit) SendReceipt(accountUID string, all ...Receipt) error {
	if err := checkTokens("transit receipt", "account uid", accountUID); err != nil {
		return err
	}
	for len(all) > 0 {
		n := min(len(all), receiptKeys)
		r := &mailferryv1.Receipt{Keys: make([]string, n), Fates: make([]string, n)}
		for i, one := range all[:n] {
			r.Keys[i], r.Fates[i] = one.Key, one.Fate
		}
		data, err := proto.Marshal(r)
		if err == nil {
			err = t.nc.Publish(receiptPrefix+accountUID, data)
		}
		if err != nil {
			return failure("transit receipt", err)
		}
		all = all[n:]
	}
	return nil
}

// receipts is a bounded buffer between NATS and a reader: what the reader has not taken yet is one slice.
type receipts struct {
	mu     sync.Mutex
	ch     chan []Receipt // of one
	closed bool
}

// Receipts follows the receipts of an account. It listens when it returns; the channel is closed after
// the returned function was called or ctx has ended. Keys that a slow reader leaves wait for it together; of more
// than 65,536 the oldest are dropped.
func (t *Transit) Receipts(ctx context.Context, accountUID string) (<-chan []Receipt, func(), error) {
	if err := checkTokens("transit receipts", "account uid", accountUID); err != nil {
		return nil, nil, err
	}
	r := &receipts{ch: make(chan []Receipt, 1)}
	sub, err := t.nc.Subscribe(receiptPrefix+accountUID, r.receive)
	if err != nil {
		return nil, nil, failure("transit receipts", err)
	}
	end := func() {
		_ = sub.Unsubscribe()
		r.close()
	}
	if err := t.flushConn(ctx); err != nil {
		end()
		return nil, nil, failure("transit receipts", err)
	}
	stop := context.AfterFunc(ctx, end)
	return r.ch, func() { stop(); end() }, nil
}

func (r *receipts) receive(m *nats.Msg) {
	var receipt mailferryv1.Receipt
	if proto.Unmarshal(m.Data, &receipt) != nil || len(receipt.GetKeys()) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	var all []Receipt
	select {
	case all = <-r.ch:
	default:
	}
	for i, key := range receipt.GetKeys() {
		one := Receipt{Key: key}
		if i < len(receipt.GetFates()) {
			one.Fate = receipt.GetFates()[i]
		}
		all = append(all, one)
	}
	r.ch <- all[max(0, len(all)-receiptBuffer):]
}

func (r *receipts) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		close(r.ch)
	}
}

// flushConn waits until the server has seen what was sent so far.
func (t *Transit) flushConn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return t.nc.FlushWithContext(ctx)
}
