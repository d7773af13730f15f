package transit

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

const fuzzSubject = mailPrefix + "6.acc.e1.p1"

func encoded(t testing.TB, m *Message, body []byte) []byte {
	t.Helper()
	p := newPool(1 << 20)
	out, start, err := inlinePayload(p, append(make([]byte, headRoom), body...), headRoom, m)
	if err != nil {
		t.Fatal(err)
	}
	return out[start:]
}

// decodeAll decodes what a message of the server holds; of a bundle the first.
func decodeAll(subject string, data []byte) (*Message, error) {
	a, ok := parseMailSubject(subject)
	if !ok {
		return &Message{}, errors.New("no subject of a message")
	}
	var first *Parcel
	for _, w := range (&Transit{}).unpack(&nats.Msg{Subject: subject, Data: data}, a, time.Time{}) {
		if p := w.parcel(); first == nil {
			first = p
		}
	}
	return first.Message, first.Err
}

func TestPayloadIsAnOrdinaryFetchedMessage(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 127, 128, 16383, 16384, 1 << 20} {
		m := message("acc", "p1")
		m.FetchedAt = timestamppb.New(time.Unix(1, 2))
		m.Flags = []string{`\Seen`}
		m.Size = int64(n)
		data := encoded(t, m, bodyOf(n, 1))
		m.Content = &mailferryv1.FetchedMessage_Inline{Inline: bodyOf(n, 1)}
		var plain Message
		if err := proto.Unmarshal(data, &plain); err != nil || !proto.Equal(&plain, m) {
			t.Fatalf("%d: protobuf reads it otherwise: %v", n, err)
		}
		ours, err := decodeAll(fuzzSubject, data)
		if err != nil || !proto.Equal(ours, m) {
			t.Fatalf("%d: %v", n, err)
		}
		other, err := proto.Marshal(m) // fields in their order, the body not in front
		if err != nil {
			t.Fatal(err)
		}
		if ours, err = decodeAll(fuzzSubject, other); err != nil || !proto.Equal(ours, m) {
			t.Fatalf("%d: in order: %v", n, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	m := message("acc", "p1")
	m.Size = 1
	good := encoded(t, m, []byte("x"))
	objects := func(name string) []byte {
		m := message("acc", "p1")
		m.Content = &mailferryv1.FetchedMessage_Object{Object: name}
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	bare, err := proto.Marshal(message("acc", "p1"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		subject string
		data    []byte
	}{
		"another uid":     {mailPrefix + "6.bcc.e1.p1", good},
		"another epoch":   {mailPrefix + "6.acc.e2.p1", good},
		"another key":     {mailPrefix + "6.acc.e1.p2", good},
		"no such lane":    {mailPrefix + "16.acc.e1.p1", good},
		"another subject": {"ferry.v1.job.m.acc", good},
		"cut":             {fuzzSubject, good[:len(good)-1]},
		"no body":         {fuzzSubject, bare},
		"a wildcard":      {fuzzSubject, objects(">")},
		"a wrong object":  {fuzzSubject, objects("a.b.*")},
	} {
		if got, err := decodeAll(c.subject, c.data); err == nil || got == nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	m := message("acc", "p1")
	m.Size = 5
	f.Add(fuzzSubject, encoded(f, m, []byte("hello")))
	m.Content = &mailferryv1.FetchedMessage_Object{Object: bodyName(m, time.Unix(1, 0))}
	object, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(fuzzSubject, object)
	m.Content = nil
	pair := &bundle{prefix: mailPrefix + "6.acc.e1.", items: []bundled{
		{key: "p1", buf: encoded(f, m, []byte("hello"))}, {key: "p2", buf: encoded(f, message("acc", "p2"), nil)}}}
	f.Add(pair.subject(), pair.join(newPool(1<<20)))
	f.Add(mailPrefix+"16..", []byte{0x92, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Add("", []byte{0x92, 1})
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		m, err := decodeAll(subject, data)
		if m == nil {
			t.Fatal("no message")
		}
		if err == nil && len(keysOf(subject)) > 1 {
			return // a bundle
		}
		var plain Message
		if proto.Unmarshal(data, &plain) != nil {
			if err == nil {
				t.Fatal("what protobuf cannot read was read")
			}
			return
		}
		if err == nil && !proto.Equal(m, &plain) {
			t.Fatalf("read as %v, protobuf reads %v", m, &plain)
		}
	})
}

func FuzzBodyName(f *testing.F) {
	f.Add(bodyName(message("acc", "p1"), time.Unix(1, 0)))
	f.Add("a.b.*")
	f.Add("a..0-")
	f.Fuzz(func(t *testing.T, name string) {
		b, ok := parseBodyName(name)
		if ok && (b.name != name || !token(b.uid) || !token(b.key) || bytes.ContainsAny([]byte(name), "*> \r\n")) {
			t.Fatal(b)
		}
	})
}

func FuzzReadAck(f *testing.F) {
	f.Add([]byte(`{"stream":"TRANSIT","seq":7}`))
	f.Add([]byte(`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"TRANSIT","seq":0}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if seq, err := readAck(data); err != nil && seq != 0 {
			t.Fatal(seq, err)
		}
	})
}

// An answer that is read without a JSON parser says the same as with one.
func TestPlainAck(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		`{"stream":"TRANSIT","seq":18446744073709551615}`, `{"stream":"T","seq":0}`, `{"stream":"TRANSIT","seq":1,"duplicate":true}`,
		`{"stream":"T","domain":"d","seq":1}`, `{"stream":"","seq":1}`, `{"stream":"T","seq":-1}`, `{"stream":"T","seq":1} `, `{"stream":"a\"b","seq":1}`,
		`{"error":{"code":400,"err_code":10077,"description":"x"},"stream":"T","seq":0}`, `{"stream":"T","seq":}`, ``, `{}`,
	} {
		seq, ok := plainAck([]byte(s))
		var want struct{ Seq uint64 }
		if err := json.Unmarshal([]byte(s), &want); ok && (err != nil || seq != want.Seq) {
			t.Errorf("%s: %d, want %d, %v", s, seq, want.Seq, err)
		}
		if plain := strings.HasPrefix(s, `{"stream":"T`) && strings.HasSuffix(s, "5}") || s == `{"stream":"T","seq":0}`; ok != plain {
			t.Errorf("%s: plain: %v", s, ok)
		}
	}
}
