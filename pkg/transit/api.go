package transit

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// callTimeout bounds one API call where the caller's context does not.
const callTimeout = 5 * time.Second

type apiResponse struct {
	Error *jetstream.APIError `json:"error"`
}

type infoResponse struct {
	apiResponse
	Total   int                   `json:"total"`
	Created time.Time             `json:"created"`
	State   jetstream.StreamState `json:"state"`
}

func (r *apiResponse) apiError() *jetstream.APIError { return r.Error }

// call asks the JetStream API; the answer of a stream comes from its leader.
func (t *Transit) call(ctx context.Context, subject string, req any, resp interface{ apiError() *jetstream.APIError }) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var body []byte
	if req != nil {
		var err error
		if body, err = json.Marshal(req); err != nil {
			return err
		}
	}
	msg, err := t.nc.RequestWithContext(ctx, t.api+subject, body)
	if errors.Is(err, nats.ErrNoResponders) {
		return errNoStream
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(msg.Data, resp); err != nil {
		return err
	}
	if e := resp.apiError(); e != nil {
		return e
	}
	return nil
}

func (t *Transit) state(ctx context.Context, stream string) (jetstream.StreamState, error) {
	var r infoResponse
	err := t.call(ctx, "STREAM.INFO."+stream, nil, &r)
	if isCode(err, jetstream.JSErrCodeStreamNotFound) {
		return jetstream.StreamState{}, nil
	}
	return r.State, err
}

// pagingAttempts bounds how often a listing that changed between two pages is started anew.
const pagingAttempts = 5

var errMoving = errors.New("the subjects change faster than they can be listed")

// subjects returns the subjects of a stream that match the filter, with their message counts. The
// server answers at most 100,000 in one page, from a sorted list: a total that changes between pages
// means that one may have slipped through, so the listing starts again.
func (t *Transit) subjects(ctx context.Context, stream, filter string) (map[string]uint64, error) {
	for range pagingAttempts {
		all, whole, err := t.subjectPages(ctx, stream, filter)
		if err != nil || whole {
			return all, err
		}
	}
	return nil, errMoving
}

func (t *Transit) subjectPages(ctx context.Context, stream, filter string) (all map[string]uint64, whole bool, err error) {
	type request struct {
		Filter string `json:"subjects_filter"`
		Offset int    `json:"offset,omitempty"`
	}
	total := -1
	for offset := 0; ; {
		var r infoResponse
		if err := t.call(ctx, "STREAM.INFO."+stream, request{filter, offset}, &r); err != nil {
			return nil, false, err
		}
		if total >= 0 && r.Total != total {
			return nil, false, nil
		}
		total = r.Total
		if all == nil {
			all = r.State.Subjects
		} else {
			for s, n := range r.State.Subjects {
				all[s] = n
			}
		}
		offset += len(r.State.Subjects)
		if offset >= total {
			return all, true, nil
		}
		if len(r.State.Subjects) == 0 {
			return nil, false, nil
		}
	}
}

// purge removes the messages of a subject filter; a stream that is not there has none.
func (t *Transit) purge(ctx context.Context, stream, filter string) (int, error) {
	return t.purgeTo(ctx, stream, filter, 0)
}

// purgeTo is purge for those up to a sequence; 0 for all.
func (t *Transit) purgeTo(ctx context.Context, stream, filter string, last uint64) (int, error) {
	var r struct {
		apiResponse
		Purged int `json:"purged"`
	}
	req := struct {
		Filter string `json:"filter"`
		Before uint64 `json:"seq,omitempty"`
	}{Filter: filter}
	if last > 0 {
		req.Before = last + 1
	}
	err := t.call(ctx, "STREAM.PURGE."+stream, req, &r)
	if isCode(err, jetstream.JSErrCodeStreamNotFound) {
		return 0, nil
	}
	return r.Purged, err
}
