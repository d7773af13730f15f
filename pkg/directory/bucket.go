package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/jsapi"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// maxValue bounds a record, in bytes.
const maxValue = 64 << 10

// Headers of a record. The first one is that of every JetStream key-value bucket.
const (
	operationHeader = "KV-Operation"
	uidHeader       = "Ferry-Account-Uid" // on a tombstone: the account that was there
)

var (
	errNoKey    = errors.New("no such key")
	errRevision = errors.New("another revision")
	errMany     = errors.New("more than the server answers at once")
)

// bucket is a key-value bucket. It is read and written by its stream, because the client's key-value
// interface neither says where a read is answered nor puts headers on a tombstone.
type bucket struct {
	d            *Directory
	name, about  string
	stream, root string // name of the stream; what stands before a key in a subject
}

// entry is the last record of a key.
type entry struct {
	key      string
	value    []byte
	revision uint64
	deleted  bool
	uid      string // on a tombstone: the account that was there, if known
}

func newBucket(d *Directory, name, about string) *bucket {
	return &bucket{d: d, name: name, about: about, stream: "KV_" + name, root: "$KV." + name + "."}
}

func (b *bucket) make(ctx context.Context, update bool) error {
	cfg := jetstream.StreamConfig{ // the form of a key-value bucket with a history of 1
		Name: b.stream, Description: b.about, Subjects: []string{b.root + ">"}, Storage: jetstream.FileStorage,
		Replicas: b.d.cfg.Replicas, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, AllowRollup: true,
		DenyDelete: true, AllowDirect: true, MaxMsgSize: maxValue,
		// Above all revisions of a bucket that was lost, whose revisions others may still know.
		FirstSeq: uint64(time.Now().UnixMilli()),
	}
	return jsapi.MakeStream(ctx, b.d.js, cfg, update)
}

func (b *bucket) entry(subject string, value []byte, revision uint64, h nats.Header) entry {
	return entry{
		key: strings.TrimPrefix(subject, b.root), value: value, revision: revision,
		deleted: h.Get(operationHeader) != "" || h.Get(jetstream.MarkerReasonHeader) != "", uid: h.Get(uidHeader),
	}
}

// get reads a key from the leader. A tombstone is an entry; errNoKey says that nothing was ever there.
func (b *bucket) get(ctx context.Context, key string) (entry, error) {
	body, err := json.Marshal(map[string]string{"last_by_subj": b.root + key})
	if err != nil {
		return entry{}, err
	}
	m, err := b.d.nc.RequestWithContext(ctx, b.d.api+"STREAM.MSG.GET."+b.stream, body)
	if err != nil {
		return entry{}, err
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string `json:"subject"`
			Seq     uint64 `json:"seq"`
			Header  []byte `json:"hdrs"`
			Data    []byte `json:"data"`
		} `json:"message"`
	}
	switch err := json.Unmarshal(m.Data, &resp); {
	case err != nil:
		return entry{}, err
	case resp.Error != nil && resp.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return entry{}, errNoKey
	case resp.Error != nil:
		return entry{}, resp.Error
	}
	var h nats.Header
	if len(resp.Message.Header) > 0 {
		if h, err = nats.DecodeHeadersMsg(resp.Message.Header); err != nil {
			return entry{}, err
		}
	}
	return b.entry(resp.Message.Subject, resp.Message.Data, resp.Message.Seq, h), nil
}

// direct reads a key from any replica, which may lag behind.
func (b *bucket) direct(ctx context.Context, key string) (entry, error) {
	m, err := b.d.nc.RequestWithContext(ctx, b.d.api+"DIRECT.GET."+b.stream+"."+b.root+key, nil)
	if err != nil {
		return entry{}, err
	}
	return b.answer(m)
}

// answer reads the answer to a direct get.
func (b *bucket) answer(m *nats.Msg) (entry, error) {
	switch status := m.Header.Get("Status"); status {
	case "":
	case "404":
		return entry{}, errNoKey
	case "413":
		return entry{}, errMany
	case "503":
		return entry{}, nats.ErrNoResponders
	default:
		return entry{}, fmt.Errorf("the server answered %s %s", status, m.Header.Get("Description"))
	}
	revision, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return entry{}, errors.New("the server did not name the revision")
	}
	return b.entry(m.Header.Get(jetstream.SubjectHeader), m.Data, revision, m.Header), nil
}

// put writes a key and returns its revision. With expect, the last revision has to be that one (0: there
// is none), else it returns errRevision.
func (b *bucket) put(ctx context.Context, key string, value []byte, h nats.Header, expect *uint64) (uint64, error) {
	m := &nats.Msg{Subject: b.root + key, Data: value, Header: h}
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	if expect != nil {
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(*expect, 10))
	}
	resp, err := b.d.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return 0, err
	}
	var ack struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
		Seq    uint64              `json:"seq"`
	}
	switch err := json.Unmarshal(resp.Data, &ack); {
	case err != nil:
		return 0, jetstream.ErrInvalidJSAck
	case ack.Error != nil && (ack.Error.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		ack.Error.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant):
		return 0, errRevision
	case ack.Error != nil:
		return 0, ack.Error
	case ack.Stream == "":
		return 0, jetstream.ErrInvalidJSAck
	}
	return ack.Seq, nil
}

// purge removes a key with its tombstone.
func (b *bucket) purge(ctx context.Context, key string, upTo ...jetstream.StreamPurgeOpt) error {
	s, err := b.d.js.Stream(ctx, b.stream)
	if err != nil {
		return err
	}
	return s.Purge(ctx, append(upTo, jetstream.WithPurgeSubject(b.root+key))...)
}

// tombstone returns the header of the record that stands for a removed one.
func tombstone() nats.Header { return nats.Header{operationHeader: {"DEL"}} }
