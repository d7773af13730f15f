package transit

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// directBatch bounds one batch in messages; it is the capacity of its channel, too.
const directBatch = 64

// directReader asks for messages of a stream in batches, by direct get: it keeps no state at the
// server, and asks any replica, which may lag.
type directReader struct {
	t       *Transit
	stream  string
	inbox   string
	sub     *nats.Subscription
	arrived chan *nats.Msg
	batch   int
}

// stored is a message of a stream.
type stored struct {
	seq     uint64
	subject string
	data    []byte
	at      time.Time
}

// directRequest is what direct get is asked for.
type directRequest struct {
	Seq   uint64 `json:"seq,omitempty"`
	Next  string `json:"next_by_subj,omitempty"`
	Last  string `json:"last_by_subj,omitempty"`
	Batch int    `json:"batch,omitempty"`
	Bytes int    `json:"max_bytes,omitempty"`
}

func (t *Transit) newDirectReader(stream string) (*directReader, error) {
	d := &directReader{t: t, stream: stream, inbox: t.nc.NewInbox(), arrived: make(chan *nats.Msg, 2*directBatch)}
	var err error
	d.sub, err = t.nc.ChanSubscribe(d.inbox+".*", d.arrived)
	return d, err
}

func (d *directReader) close() { _ = d.sub.Unsubscribe() }

// get asks for one batch and calls each for its messages, in order; nothing found is no error.
func (d *directReader) get(ctx context.Context, req directRequest, each func(stored) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	d.batch++
	reply := d.inbox + "." + strconv.Itoa(d.batch)
	data, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if err := d.t.nc.PublishRequest(d.t.api+"DIRECT.GET."+d.stream, reply, data); err != nil {
		return err
	}
	for {
		select {
		case m := <-d.arrived:
			if m.Subject != reply {
				continue // an answer that came too late
			}
			s, end, err := readDirect(m)
			if end || err != nil {
				return err
			}
			if err := each(s); err != nil {
				return err
			}
			if req.Batch == 0 {
				return nil
			}
		case <-ctx.Done():
			return errNoAnswer
		}
	}
}

// readDirect reads one message of a batch; end says that there was none any more.
func readDirect(m *nats.Msg) (s stored, end bool, err error) {
	switch status := m.Header.Get("Status"); status {
	case "":
	case "204", "404":
		return s, true, nil
	case "503":
		return s, true, errNoStream
	default:
		return s, true, errors.New("direct get answers " + status)
	}
	if s.seq, err = strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64); err != nil {
		return s, false, errors.New("direct get answers without a sequence")
	}
	if s.at, err = time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp")); err != nil {
		return s, false, errors.New("direct get answers without a time")
	}
	s.subject, s.data = m.Header.Get("Nats-Subject"), m.Data
	return s, false, nil
}
