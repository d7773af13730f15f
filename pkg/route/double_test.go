package route_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/route"
)

func TestDouble(t *testing.T) {
	t.Parallel()
	const head = "Message-ID: <1@sender.test>\r\nDate: Thu, 26 Nov 2026 08:00:00 +0000\r\nFrom: a@sender.test\r\nSubject: x\r\n"
	to := func(recipients ...string) route.Route {
		return route.Route{Legs: []route.Leg{{Destination: "lmtp:h:24", To: recipients}}}
	}
	digest := func(uid string, r route.Route, message string) []byte {
		d, err := route.Double(uid, r, strings.NewReader(message))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := digest("u", to("alice@b", "bob@b"), head+"\r\nbody\r\n")
	if len(first) != 16 {
		t.Fatalf("digest %x", first)
	}
	large := strings.Repeat("x", 100<<10)
	for name, same := range map[string][]byte{
		"way":               digest("u", to("alice@b", "bob@b"), "Received: from a by b\r\nDelivered-To: carol@b\r\n"+head+"X-Spam: no\r\n\r\nbody\r\n"),
		"order":             digest("u", to("bob@b", "alice@b"), head+"\r\nbody\r\n"),
		"order of the legs": digest("u", route.Route{Legs: []route.Leg{{Destination: "x", To: []string{"bob@b"}}, {Destination: "y", To: []string{"alice@b"}}}}, head+"\r\nbody\r\n"),
	} {
		if !bytes.Equal(first, same) {
			t.Errorf("another %s is another message", name)
		}
	}
	for name, other := range map[string][]byte{
		"account":    digest("v", to("alice@b", "bob@b"), head+"\r\nbody\r\n"),
		"recipient":  digest("u", to("alice@b"), head+"\r\nbody\r\n"),
		"mailbox":    digest("u", route.Route{Legs: []route.Leg{{To: []string{"alice@b", "bob@b"}, Mailbox: []string{"In"}}}}, head+"\r\nbody\r\n"),
		"Message-ID": digest("u", to("alice@b", "bob@b"), strings.Replace(head, "<1@", "<2@", 1)+"\r\nbody\r\n"),
		"Subject":    digest("u", to("alice@b", "bob@b"), strings.Replace(head, "x\r\n", "y\r\n", 1)+"\r\nbody\r\n"),
		"body":       digest("u", to("alice@b", "bob@b"), head+"\r\nbody.\r\n"),
		"large":      digest("u", to("alice@b", "bob@b"), head+"\r\n"+large),
	} {
		if bytes.Equal(first, other) || other == nil {
			t.Errorf("another %s is the same message: %x", name, other)
		}
	}
	if bytes.Equal(digest("u", to("a@b"), head+"\r\n"+large+"1"), digest("u", to("a@b"), head+"\r\n"+large+"2")) {
		t.Error("the end of a large message makes no difference")
	}
	for name, message := range map[string]string{
		"no Message-ID": "Subject: x\r\n\r\nbody\r\n", "in the body": "Subject: x\r\n\r\n" + head + "\r\n", "empty": "", "empty id": "Message-ID:\r\nSubject: x\r\n\r\n",
		"no end": head, "a long header": head + "X: " + strings.Repeat("y", 70<<10) + "\r\n\r\n",
	} {
		if d := digest("u", to("alice@b"), message); d != nil {
			t.Errorf("%s: digest %x", name, d)
		}
	}
}
