package remote_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mailferry/mailferry/pkg/remote"
)

const head = "Received: from a by b; Fri, 2 Jan 2026\r\nSubject: one\r\nMessage-ID: <1@x>\r\n"

// What a server changes between two readings changes no name; what tells messages apart does. (quirk27)
func TestHeaderDigest(t *testing.T) {
	t.Parallel()
	want, err := remote.HeaderDigest(strings.NewReader(head + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, same := range map[string]string{
		"with a body":       head + "\r\nbody\r\n",
		"read once":         "Return-Path: <a@x>\r\nStatus: RO\r\nX-Status: A\r\n" + head + "X-UID: 5\r\nX-UIDL: abc\r\nContent-Length: 12\r\n\r\n",
		"Yahoo":             "X-Yahoo-Newman-Property:\r\n ymail-3\r\n" + head + "\r\n",
		"a mailbox's line":  "From alice@x Fri Jan  2 00:00:00 2026\r\n" + head + "\r\n",
		"folded elsewhere":  "Received: from a\r\n\tby b;  Fri,\r\n 2 Jan 2026\r\nSUBJECT:one\r\nMessage-Id:\r\n <1@x>\r\n\r\n",
		"bare line ends":    strings.ReplaceAll(head, "\r\n", "\n") + "\n",
		"TOP with too much": head + "\r\n" + strings.Repeat("x\r\n", 1000),
	} {
		if got, err := remote.HeaderDigest(iotest.OneByteReader(strings.NewReader(same))); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: another name: %v", name, err)
		}
		if got, err := remote.MessageDigest(strings.NewReader(same)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: another name by the whole message: %v", name, err)
		}
	}
	for name, other := range map[string]string{
		"another transfer": strings.Replace(head, "2026", "2027", 1) + "\r\n",
		"another subject":  strings.Replace(head, "one", "One", 1) + "\r\n",
		"another order":    "Subject: one\r\nReceived: from a by b; Fri, 2 Jan 2026\r\nMessage-ID: <1@x>\r\n\r\n",
		"one field more":   head + "X: y\r\n\r\n",
	} {
		if got, err := remote.HeaderDigest(strings.NewReader(other)); err != nil || bytes.Equal(got, want) {
			t.Errorf("%s: the same name (%v)", name, err)
		}
	}
}

func TestHeaderThatNamesNoMessage(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, text := range map[string]string{
		"nothing":        "",
		"cut short":      head,
		"in a line":      head + "X: y",
		"no transfer":    "Subject: one\r\nMessage-ID: <1@x>\r\n\r\nbody one\r\n",
		"another body":   "Subject: one\r\nMessage-ID: <1@x>\r\n\r\nbody two\r\n",
		"+OK twice":      "+OK 120 octets\r\n" + head + "\r\n", // quirk22: FTGate
		"no fields":      "\r\nbody\r\n",
		"text":           head + "this is no field\r\n\r\nbody\r\n",
		"endless":        head + "X: " + strings.Repeat("x", 300<<10) + "\r\n\r\nbody\r\n",
		"endless, other": head + "X: " + strings.Repeat("x", 300<<10) + "\r\n\r\nBody\r\n",
	} {
		if _, err := remote.HeaderDigest(strings.NewReader(text)); !errors.Is(err, remote.ErrAnonymous) {
			t.Errorf("%s: %v", name, err)
		}
		d, err := remote.MessageDigest(iotest.HalfReader(strings.NewReader(text)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if other := seen[string(d)]; other != "" {
			t.Errorf("%s has the name of %s", name, other)
		}
		seen[string(d)] = name
	}
	a, _ := remote.MessageDigest(strings.NewReader("Status: O\r\nSubject: x\r\n\r\nbody"))
	b, _ := remote.MessageDigest(strings.NewReader("Status: RO\r\nSubject: x\r\n\r\nbody"))
	if !bytes.Equal(a, b) {
		t.Error("a status changes the name of a message without a transfer")
	}
	for _, digest := range []func(io.Reader) ([]byte, error){remote.HeaderDigest, remote.MessageDigest} {
		if _, err := digest(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(head)))); !errors.Is(err, iotest.ErrTimeout) {
			t.Errorf("a failure of the reader is %v", err)
		}
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	const bare = "Subject: one\r\nMessage-ID: <1@x>\r\n\r\n"
	for name, c := range map[string]struct {
		text      string
		weak, not bool
	}{
		"a transfer":      {text: head + "\r\n"},
		"a Message-ID":    {text: bare, weak: true},
		"neither":         {text: "Subject: one\r\nDate: Fri, 2 Jan 2026 00:00:00 +0000\r\n\r\n", not: true},
		"cut short":       {text: head, not: true},
		"text":            {text: head + "this is no field\r\n\r\n", not: true},
		"nothing, a body": {text: "\r\nMessage-ID: <1@x>\r\n\r\n", not: true},
	} {
		id, weak, err := remote.Identity(strings.NewReader(c.text))
		if c.not != errors.Is(err, remote.ErrAnonymous) || weak != c.weak || (err == nil) != (len(id) > 0) {
			t.Errorf("%s: %x, weak %v, %v", name, id, weak, err)
		}
		if c.not {
			continue
		}
		again, _, _ := remote.Identity(strings.NewReader("Status: RO\r\n" + c.text + "body"))
		other, _, _ := remote.Identity(strings.NewReader("Received: from c by d\r\n" + c.text))
		if !bytes.Equal(again, id) || bytes.Equal(other, id) {
			t.Errorf("%s: %x again, %x sent once more, was %x", name, again, other, id)
		}
	}
	if _, _, err := remote.Identity(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(head)))); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("a failure of the reader is %v", err)
	}
}
