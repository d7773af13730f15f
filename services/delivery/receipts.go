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
	waiting map[string][]string // keys by account; not empty while a timer runs
}

func newReceipts(t *transit.Transit) *receipts {
	return &receipts{transit: t, waiting: map[string][]string{}}
}

func (r *receipts) send(account, key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		time.AfterFunc(receiptGather, r.flush)
	}
	r.waiting[account] = append(r.waiting[account], key)
}

func (r *receipts) flush() {
	r.mu.Lock()
	waiting := r.waiting
	r.waiting = map[string][]string{}
	r.mu.Unlock()
	for account, keys := range waiting {
		_ = r.transit.SendReceipt(account, keys...)
	}
}
