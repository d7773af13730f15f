package notice

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestStream gives a notice to every channel once, again to the one that gives it back, and keeps nothing that all are
// done with; a copy under the same id is none.
func TestStream(t *testing.T) {
	t.Parallel()
	srv := testenv.NewNATS(t)
	n, err := Open(limited(t), srv.Conn, srv.JS, Config{})
	if err != nil {
		t.Fatal(err)
	}
	want := sample()
	for range 2 {
		if err := n.Publish(limited(t), want); err != nil {
			t.Fatal(err)
		}
	}
	next := func(ch Channel) *Claim {
		t.Helper()
		c, err := n.Next(limited(t), ch)
		if err != nil || !proto.Equal(c.Notice, want) {
			t.Fatalf("%s: %v, %v", ch, c, err)
		}
		return c
	}
	for i, ch := range Channels {
		c := next(ch)
		if i == 0 {
			if err := c.Again(0); err != nil {
				t.Fatal(err)
			}
			if c = next(ch); c.Delivered != 2 {
				t.Errorf("given back, and then delivered %d times", c.Delivered)
			}
		}
		if err := c.Done(limited(t)); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, 30*time.Second, "nothing is kept", func() bool {
		s, err := srv.JS.Stream(limited(t), stream)
		return err == nil && s.CachedInfo().State.Msgs == 0
	})
	ended, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := n.Next(ended, OwnerMail)
		done <- err
	}()
	cancel()
	if err := <-done; err == nil {
		t.Error("a notice that was not there")
	}
}

// A process that starts does not update a stream that is as it should be: another one may be making its consumers.
func TestOpenUpdatesNothing(t *testing.T) {
	t.Parallel()
	srv := testenv.NewNATS(t)
	updates, err := srv.Conn.SubscribeSync("$JS.EVENT.ADVISORY.STREAM.UPDATED." + stream)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := Open(limited(t), srv.Conn, srv.JS, Config{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := srv.JS.UpdateStream(limited(t), jetstream.StreamConfig{ // an update is told of, and those before it
		Name: stream, Subjects: []string{subject + "*"}, Retention: jetstream.InterestPolicy, Storage: jetstream.FileStorage, Description: "another",
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := updates.NextMsgWithContext(limited(t)); err != nil {
		t.Fatal(err)
	}
	if n, _, err := updates.Pending(); err != nil || n > 0 {
		t.Errorf("%d updates more than the one, %v", n, err)
	}
}

// TestStreamComesBack makes the stream again where it is gone, and passes over what cannot be read.
func TestStreamComesBack(t *testing.T) {
	t.Parallel()
	srv := testenv.NewNATS(t)
	n, err := Open(limited(t), srv.Conn, srv.JS, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.JS.DeleteStream(limited(t), stream); err != nil {
		t.Fatal(err)
	}
	if err := n.Publish(limited(t), sample()); err != nil {
		t.Fatal(err)
	}
	if c, err := n.Next(limited(t), FleetWebhook); err != nil || c.GetId() != "ntc_1" || c.Done(limited(t)) != nil {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := srv.JS.Publish(limited(t), subject+"uid", []byte("\xff")); err != nil {
		t.Fatal(err)
	}
	if c, err := n.Next(limited(t), FleetWebhook); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("%v, %v", c, err)
	}
}

// TestMailIsPlain writes nothing of a fault into a header, and no line that is too long.
func TestMailIsPlain(t *testing.T) {
	t.Parallel()
	for _, typ := range []Type{Failing, ConsentNeeded, OverQuota, Recovered, OversizeSkipped} {
		n := sample()
		n.Type, n.Name, n.Fault.Message = ProtoType(typ), "Käse \x7f box", "what\r\nX-Forged: yes\r\n\r\n.\r\n"+strings.Repeat("x", 2000)
		if typ == Recovered || typ == OversizeSkipped {
			n.Fault = nil
		}
		raw := string(Mail(n, "alice@example.com"))
		head, body, _ := strings.Cut(raw, "\r\n\r\n")
		if !strings.Contains(head, "\r\nX-Mailferry-Notice: "+string(typ)+"; id=ntc_1\r\n") || !strings.Contains(head, "\r\nAuto-Submitted: auto-generated\r\n") ||
			strings.Contains(head, "Forged") || body == "" || (typ == Failing) != strings.Contains(body, "3 attempts") {
			t.Errorf("%s:\n%s", typ, raw)
		}
		for line := range strings.SplitSeq(raw, "\r\n") {
			if len(line) > 98 || strings.ContainsAny(line, "\r\n\x7f") || strings.Contains(line, "é") {
				t.Errorf("%s: line %q", typ, line)
			}
		}
	}
}
