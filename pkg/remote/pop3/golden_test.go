package pop3_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/pop3"
	"github.com/mailferry/mailferry/pkg/testenv"
)

var update = flag.Bool("update", false, "rewrite the outcomes in testdata/*.txt")

// TestDialogues plays each dialogue of testdata against a session that lists, fetches and deletes all, and
// compares what came of it with the lines of the file that begin with "=". A line that begins with "#:"
// sets the target and the limits. Dialogues of a known quirk of servers lie in the folder with its number.
func TestDialogues(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	quirks, qerr := filepath.Glob("testdata/quirk*/*.txt")
	if err != nil || qerr != nil || len(files) == 0 || len(quirks) == 0 {
		t.Fatal("no dialogues", err, qerr)
	}
	for _, file := range append(files, quirks...) {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(file), "testdata/"), ".txt")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dialogue, want := split(string(text))
			s := testenv.NewScript(t, dialogue)
			d, target, fetch := settings(t, dialogue)
			d.TLS.RootCAs, target.Port = s.CA.Pool, s.Port
			got := outcome(t, d, target, fetch)
			got = strings.ReplaceAll(got, strconv.Itoa(s.Port), "PORT")
			if strings.Contains(strings.ToLower(got), strings.ToLower(target.Password)) {
				t.Errorf("the password shows:\n%s", got)
			}
			if *update {
				if err := os.WriteFile(file, []byte(dialogue+got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
}

// split parts the dialogue from its outcome.
func split(text string) (dialogue, outcome string) {
	for line := range strings.Lines(text) {
		if line[0] == '=' {
			outcome += line
		} else {
			dialogue += line
		}
	}
	return dialogue, outcome
}

func settings(t *testing.T, dialogue string) (d remote.Dialer, target remote.Target, fetch bool) {
	t.Helper()
	d = dialer(nil)
	d.Limits = remote.Limits{Dial: 10 * time.Second, Command: 10 * time.Second, Idle: 10 * time.Second}
	target = remote.Target{Host: "localhost", TLS: account.Disable, Username: "mrose", Password: canary}
	first, _, _ := strings.Cut(dialogue, "\n")
	options, ok := strings.CutPrefix(first, "#:")
	if !ok {
		return d, target, true
	}
	fetch = true
	for _, o := range strings.Fields(options) {
		key, value, _ := strings.Cut(o, "=")
		n, _ := strconv.Atoi(value)
		long, _ := time.ParseDuration(value)
		switch key {
		case "tls":
			target.TLS = account.TLSMode(value)
		case "lenient":
			target.LenientDot = true
		case "quiet":
			d.Limits.Quiet = long
		case "apop":
			target.APOP = true
		case "auth":
			target.Auth = account.Auth(value)
		case "token":
			target.Token, target.Password = value, value
		case "user":
			target.Username = value
		case "password":
			target.Password = value
		case "list-only":
			fetch = false
		case "line":
			d.Limits.Line = n
		case "list":
			d.Limits.List = n
		case "message":
			d.Limits.Message = int64(n)
		case "command":
			d.Limits.Command = long
		case "idle":
			d.Limits.Idle = long
		default:
			t.Fatalf("no such option: %s", o)
		}
	}
	return d, target, fetch
}

// outcome plays a session and writes down what came of it.
func outcome(t *testing.T, d remote.Dialer, target remote.Target, fetch bool) string {
	var b strings.Builder
	say := func(what string, err error) bool {
		if err == nil {
			fmt.Fprintf(&b, "= %s: ok\n", what)
			return true
		}
		fmt.Fprintf(&b, "= %s: %s: %v\n", what, fault.KindOf(err), err)
		if until := fault.UntilOf(err); !until.IsZero() {
			fmt.Fprintf(&b, "= not before %v have passed\n", time.Until(until).Round(time.Minute))
		}
		return false
	}
	s, err := pop3.Dial(t.Context(), d, target)
	if !say("dial", err) {
		return b.String()
	}
	defer s.Abort()
	fmt.Fprintf(&b, "= tls %s, consumes %v\n", s.Info().TLS, s.Info().Consumes)
	if m := s.Info().Mechanism; m != "password command" && m != "APOP" {
		fmt.Fprintf(&b, "= signed in with %s\n", m)
	}
	l, err := s.List(t.Context())
	if !say("list", err) {
		return b.String()
	}
	fmt.Fprintf(&b, "= complete %v %s\n", l.Complete, l.Note)
	for _, i := range l.Items {
		fmt.Fprintf(&b, "= item %d %q %d\n", i.Number, i.UniqueID, i.Size)
	}
	if !fetch {
		say("close", s.Close(t.Context()))
		return b.String()
	}
	err = s.Fetch(t.Context(), l.Items, func(f remote.Fetched) error {
		what := fmt.Sprintf("message %d", f.Item.Number)
		if f.Err != nil {
			say(what, f.Err)
			return nil
		}
		body, err := io.ReadAll(f.Body)
		if say(what, err) {
			fmt.Fprintf(&b, "= %d octets %q\n", len(body), body[:min(len(body), 200)])
		}
		return nil
	})
	if say("fetch", err) {
		say("delete", s.Delete(t.Context(), l.Items))
	}
	say("close", s.Close(t.Context()))
	return b.String()
}

// The dialogue's own copy of the body must not depend on how a reader takes it.
func TestBodyHoweverRead(t *testing.T) {
	t.Parallel()
	want := append(bytes.Repeat([]byte("..\r\n.\rline\n.\n\r\n"), 20_000), "end\r\n"...)
	srv := serve(t)
	srv.append(want, want, want)
	s, err := pop3.Dial(t.Context(), dialer(nil), remote.Target{
		Host: "localhost", Port: srv.port, TLS: account.Disable, Username: "u", Password: canary,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort()
	l, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ways := []func(io.Reader) io.Reader{
		func(r io.Reader) io.Reader { return r }, // WriteTo
		func(r io.Reader) io.Reader { return struct{ io.Reader }{r} },
		func(r io.Reader) io.Reader { return &oneByOne{r} },
	}
	n := 0
	err = s.Fetch(t.Context(), l.Items, func(f remote.Fetched) error {
		var got bytes.Buffer
		_, err := io.Copy(struct{ io.Writer }{&got}, ways[n](f.Body))
		if err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("way %d: %d octets of %d: %v", n, got.Len(), len(want), err)
		}
		n++
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

type oneByOne struct{ r io.Reader }

func (o *oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 1)]) }
