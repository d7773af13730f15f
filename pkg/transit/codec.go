package transit

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/mailferry/mailferry/pkg/vault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// inlineField is the number of FetchedMessage.inline. A payload starts with it: the body is read into
// its place behind the head room, and size and digest, known only then, follow it.
const inlineField = protowire.Number(18)

// tagRoom is what tag and length of the inline body take at most, headRoom what the seal takes besides.
const (
	tagRoom  = 8
	headRoom = tagRoom + vault.NonceRoom
)

// inlinePayload makes one of a buffer that holds body from at on, behind room for its tag: the returned start is where
// the payload begins.
func inlinePayload(p *pool, buf []byte, at int, m *Message) (out []byte, start int, err error) {
	var head [16]byte
	h := protowire.AppendTag(head[:0], inlineField, protowire.BytesType)
	h = protowire.AppendVarint(h, uint64(len(buf)-at))
	start = at - len(h)
	copy(buf[start:], h)
	out, err = appendMessage(p, buf, m)
	return out, start, err
}

// appendMessage appends the fields of m to a pooled buffer.
func appendMessage(p *pool, buf []byte, m *Message) ([]byte, error) {
	buf = p.grow(buf, len(buf)+proto.Size(m))
	return proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(buf, m)
}

// decode reads the payload of the message with a key. An inline body at its front, where this package puts it, is not
// copied: it stays part of data.
func decode(a address, key string, data []byte) (*Message, error) {
	m := &Message{}
	rest, inline, leads := cutInline(data)
	if err := proto.Unmarshal(rest, m); err != nil {
		return a.message(key), errors.New("the payload is no message")
	}
	if leads && m.Content == nil {
		m.Content = &mailferryv1.FetchedMessage_Inline{Inline: inline}
	}
	switch {
	case m.GetAccountUid() != a.uid || m.GetEpoch() != a.epoch || m.GetKey() != key:
		return a.message(key), errors.New("the payload belongs to another subject")
	case m.Content == nil:
		return m, errors.New("the message has no body")
	case m.GetSize() < 0:
		return m, fmt.Errorf("the message has size %d", m.GetSize())
	}
	if m.GetObject() != "" && !validBodyName(m.GetObject()) || m.GetObject() == "" && m.GetInline() == nil && m.GetSize() != 0 {
		return m, errors.New("the message names no body")
	}
	return m, nil
}

func cutInline(data []byte) (rest, inline []byte, ok bool) {
	num, typ, n := protowire.ConsumeTag(data)
	if n < 0 || num != inlineField || typ != protowire.BytesType {
		return data, nil, false
	}
	inline, k := protowire.ConsumeBytes(data[n:])
	if k < 0 {
		return data, nil, false
	}
	return data[n+k:], inline[:len(inline):len(inline)], true
}

// message is what is known of a message that cannot be read.
func (a address) message(key string) *Message {
	return &Message{AccountUid: a.uid, Epoch: a.epoch, Key: key}
}
