package worker

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// maxHead bounds the header by which a message is known again.
const maxHead = 64 << 10

// identity is the keyed digest by which a message is known again under another key, zeroes for one whose
// header does not tell it from others; a weak one counts only beside an equal size (remote.Identity).
func (w *Worker) identity(head io.Reader) (id []byte, weak bool, err error) {
	sum, weak, err := remote.Identity(io.LimitReader(head, maxHead))
	if errors.Is(err, remote.ErrAnonymous) {
		return make([]byte, 8), true, nil
	}
	if err != nil {
		return nil, false, err
	}
	return w.Keyer.Identity(sum), weak, nil
}

// headed is a body that tells its header once, when it has been read.
type headed struct {
	r     io.Reader
	head  []byte
	done  bool
	found func(head []byte)
}

func (h *headed) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if h.done {
		return n, err
	}
	from, head := max(0, len(h.head)-3), p[:n]
	if len(h.head) > 0 {
		head = append(h.head, head...)
	}
	h.done = err != nil || len(head) >= maxHead || ended(head[from:])
	if h.done {
		h.found(head)
		h.head = nil
	} else {
		h.head = append(h.head[:0], head...)
	}
	return n, err
}

// ended says that there is an empty line.
func ended(late []byte) bool {
	return bytes.Contains(late, []byte("\n\r\n")) || bytes.Contains(late, []byte("\n\n"))
}

// probed is what the header of a listed message says.
type probed struct {
	at   int // in the listing
	id   []byte
	weak bool
}

// probe reads the headers of listed messages: alone where the session can, else with the message behind it. One
// that cannot be read is left out. What was read before an error is returned with it.
func (r *run) probe(ctx context.Context, at []int) ([]probed, error) {
	where := make(map[itemHandle]int, len(at))
	for _, i := range at {
		where[handle(r.listing.Items[i])] = i
	}
	var out []probed
	ask := func(items []remote.Item, read func(context.Context, []remote.Item, func(remote.Fetched) error) error) (left []remote.Item, err error) {
		return left, read(ctx, items, func(f remote.Fetched) error {
			id, weak, err := []byte(nil), false, f.Err
			if err == nil {
				if id, weak, err = r.w.identity(f.Body); err == nil {
					_, err = io.Copy(io.Discard, f.Body)
				}
				if err != nil && fault.KindOf(err) != fault.Policy {
					return err
				}
			}
			if err != nil {
				left = append(left, f.Item)
				return nil
			}
			out = append(out, probed{where[handle(f.Item)], id, weak})
			return nil
		})
	}
	left := r.mailbox().items(at)
	var err error
	if s, ok := r.session.(remote.HeaderReader); ok && len(left) > 0 {
		left, err = ask(left, s.Headers)
	}
	if err == nil && len(left) > 0 {
		r.readForNames = true
		_, err = ask(left, r.session.Fetch)
	}
	return out, err
}
