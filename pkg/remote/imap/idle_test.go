package imap_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/imap"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// Parts of dialogues: a mailbox that was listed, is selected again, and idles.
const (
	empties = "C: T1 EXAMINE INBOX\nS: * 0 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: * OK [UIDNEXT 10] next\nS: T1 OK done\n"
	offers  = greets + "C? H1 AUTHENTICATE\nS: H1 OK [CAPABILITY IMAP4rev1 IDLE] in\n" + empties
	again   = offers + "C: T2 EXAMINE INBOX\nS: * 0 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: * OK [UIDNEXT 10] next\nS: T2 OK done\n"
	idles   = again + "C: T3 IDLE\nS: + idling\n"
	ended   = "C: DONE\nS: T3 OK done\n"
)

func TestIdle(t *testing.T) {
	t.Parallel()
	const soon, long = 20 * time.Millisecond, time.Hour // the second one passes in no test
	for name, tt := range map[string]struct {
		dialogue string
		d        time.Duration
		news     bool
		kind     fault.Kind
		text     string
	}{
		"nothing":           {idles + ended, soon, false, fault.None, ""},
		"a trial":           {idles + ended, 0, false, fault.None, ""},
		"a message":         {idles + "S: * 1 EXISTS\nS: * 1 RECENT\n" + ended, long, true, fault.None, ""},
		"as many as before": {idles + "S: * 0 EXISTS\n" + ended, soon, false, fault.None, ""},
		"gone and come":     {idles + "S: * 2 EXISTS\nS: * 1 EXPUNGE\nS: * 2 EXISTS\n" + ended, long, true, fault.None, ""},
		"flags":             {idles + "S: * 1 FETCH (FLAGS (\\Seen))\nS: * OK Still here\n" + ended, soon, false, fault.None, ""},
		"another +":         {idles + "S: + still idling\n" + ended, soon, false, fault.None, ""},
		"come since the listing": {offers + "C: T2 EXAMINE INBOX\nS: * 1 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: * OK [UIDNEXT 11] next\nS: T2 OK done\n" +
			"C: T3 IDLE\nS: + idling\n" + ended, long, true, fault.None, ""},
		"not offered": {greets + "C? H1 AUTHENTICATE\nS: H1 OK [CAPABILITY IMAP4rev1] in\n" + empties,
			soon, false, fault.Unavailable, "does not offer IDLE"},
		"refused":              {again + "C: T3 IDLE\nS: T3 NO not today\n", long, false, fault.Unavailable, "not today"},
		"not known":            {again + "C: T3 IDLE\nS: T3 BAD what\n", long, false, fault.Protocol, "what"},
		"never begun":          {again + "C: T3 IDLE\n", long, false, fault.Timeout, "within 2s"},
		"never ended":          {idles + "C: DONE\n", soon, false, fault.Timeout, "within 2s"},
		"ended by the server":  {idles + "S: T3 OK enough\n", long, false, fault.Protocol, "by itself"},
		"BYE":                  {idles + "S: * BYE Disconnected for inactivity\nCLOSE\n", long, false, fault.Unavailable, "inactivity"},
		"cut":                  {idles + "CLOSE\n", long, false, fault.Network, "closed"},
		"a drip":               {idles + "S~ 20ms \"x\"\n", soon, false, fault.Timeout, "within 2s"},
		"a flood of flags":     {idles + "S* 1000000 \"* 1 FETCH (FLAGS ())\\r\\n\"\n", long, false, fault.Protocol, "more"},
		"a flood of +":         {idles + "S* 1000000 \"+ \\r\\n\"\n", long, false, fault.Protocol, "more"},
		"an endless line":      {idles + "S* 1000000 \"* 1 EXI\"\n", long, false, fault.Protocol, "line"},
		"UIDNEXT out of range": {offers + "C: T2 EXAMINE INBOX\nS: * 0 EXISTS\nS: * OK [UIDVALIDITY 7] ok\nS: * OK [UIDNEXT 99999999999] next\nS: T2 OK [UIDNEXT x] done\n" + "C: T3 IDLE\nS: + idling\n" + ended, soon, false, fault.None, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := testenv.NewScript(t, tt.dialogue)
			s := session(t, brief(dialer(nil)), local(script.Port))
			if _, err := s.List(t.Context()); err != nil {
				t.Fatal(err)
			}
			news, err := s.(remote.Idler).Idle(t.Context(), tt.d)
			if tt.kind != fault.None {
				failsWith(t, err, tt.kind, tt.text)
			} else if err != nil || news != tt.news {
				t.Errorf("news %v, %v", news, err)
			}
			if errors.Is(err, remote.ErrNoIdle) != (name == "not offered") {
				t.Errorf("error %v", err)
			}
			s.Abort()
			_ = s.Close(t.Context())
			if err := script.End(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestIdleEndsInOrder ends IDLE from outside; the session goes on.
func TestIdleEndsInOrder(t *testing.T) {
	t.Parallel()
	script := testenv.NewScript(t, idles+ended+"C: T4 IDLE\nS: + idling\nC: DONE\nS: * 1 EXISTS\nS: T4 OK done\nC: T5 LOGOUT\nS: * BYE\nS: T5 OK bye\n")
	s := session(t, brief(dialer(nil)), local(script.Port))
	if _, err := s.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	idler := s.(remote.Idler)
	if news, err := idler.Idle(t.Context(), time.Millisecond); news || err != nil {
		t.Fatal(news, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if news, err := idler.Idle(ctx, time.Hour); !news || err != nil { // of what came with the answer to DONE
		t.Fatal(news, err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	wholly(t, script)
}

// TestIdleAtDovecot hears of a message that is added, not of one that goes, also of one that came before.
func TestIdleAtDovecot(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotPassword(canary))
	dove.Append("idle", []byte("Subject: one\r\n\r\n1\r\n"))
	s, err := imap.Dial(t.Context(), dialer(dove.Pool), remote.Target{
		Host: dove.Host, Port: dove.IMAPSPort, TLS: account.Direct, Username: "idle", Password: dove.Password,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	l, err := s.List(t.Context())
	if err != nil || len(l.Items) != 1 {
		t.Fatal(l, err)
	}
	if err := s.Delete(t.Context(), l.Items); err != nil {
		t.Fatal(err)
	}
	idler := s.(remote.Idler)
	if news, err := idler.Idle(t.Context(), 0); news || err != nil {
		t.Fatal("nothing came: ", news, err)
	}
	type answer struct {
		news bool
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		news, err := idler.Idle(t.Context(), time.Minute)
		done <- answer{news, err}
	}()
	dove.Append("idle", []byte("Subject: two\r\n\r\n2\r\n"))
	if got := <-done; !got.news || got.err != nil {
		t.Fatalf("%+v", got)
	}
}
