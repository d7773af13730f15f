package remote_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mailferry/mailferry/pkg/remote"
)

// FuzzDigest names messages: the same however they are read, by the header as by the whole, and whatever a
// server writes into the fields that are its own.
func FuzzDigest(f *testing.F) {
	for _, s := range []string{
		head + "\r\nbody", "From x\n" + head + "\n", head, "", "\r\n", " folded first\r\nReceived: x\r\n\r\n", "Received:\r\n\r\n", ":\r\n\r\n",
		"Received: x\r\nStatus: a\r\n b\r\n\r\n", "Received: x\r\n" + strings.Repeat(" y\r\n", 100) + "\r\n", "Received: x\r\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, err := remote.MessageDigest(bytes.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		if slow, err := remote.MessageDigest(iotest.OneByteReader(bytes.NewReader(in))); err != nil || !bytes.Equal(slow, whole) {
			t.Fatalf("%q has another name octet by octet: %v", in, err)
		}
		header, err := remote.HeaderDigest(bytes.NewReader(in))
		if errors.Is(err, remote.ErrAnonymous) {
			return
		}
		if err != nil || !bytes.Equal(header, whole) {
			t.Fatalf("%q has another name by its header: %v", in, err)
		}
		marked := append([]byte("Status: RO\r\nX-UID: 5\r\n"), in...)
		if bytes.HasPrefix(in, []byte(" ")) || bytes.HasPrefix(in, []byte("\t")) || bytes.HasPrefix(in, []byte("From ")) {
			return // it would go on with the field, or be no first line any more
		}
		if again, err := remote.HeaderDigest(bytes.NewReader(marked)); err != nil || !bytes.Equal(again, header) {
			t.Fatalf("%q has another name once it was read: %v", in, err)
		}
	})
}
