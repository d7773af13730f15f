package delivery

import (
	"sync"
	"time"

	"github.com/mailferry/mailferry/pkg/transit"
)

// receiptGather is how long a receipt waits for others of its account: a large mailbox has thousands a second.
const receiptGather = 2 * time.Millisecond

// receipts sends those of an account that come at once in one message. They are hints: an error is not worth a word.
type receipts struct {
	transit *transit.Transit

	mu      sync.Mutex
	waiting map[string][]transit.Receipt // by account; not empty while a timer runs
}

func newReceipts(t *transit.Transit) *receipts {
	return &receipts{transit: t, waiting: map[string][]transit.Receipt{}}
}

func (r *receipts) send(account string, receipt transit.Receipt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		time.AfterFunc(receiptGather, r.flush)
	}
	r.waiting[account] = append(r.waiting[account], receipt)
}

func (r *receipts) flush() {
	r.mu.Lock()
	waiting := r.waiting
	r.waiting = map[string][]transit.Receipt{}
	r.mu.Unlock()
	for account, all := range waiting {
		_ = r.transit.SendReceipt(account, all...)
	}
}
