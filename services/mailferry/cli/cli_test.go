package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

func TestGolden(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args string
		code int
	}{
		{"account-list", "account list", 0},
		{"account-list-json", "account list --json", 0},
		{"account-list-empty", "account list empty.example", 0},
		{"account-show", "account show example.com/gmail-alice", 0},
		{"account-show-failing", "account show example.com/isp", 0},
		{"account-show-json", "account show example.com/gmail-alice --json", 0},
		{"account-show-unknown", "account show example.com/nobody", 1},
		{"account-show-unknown-json", "account show example.com/nobody --json", 1},
		{"account-edit", "account edit example.com/gmail-alice --host imap2.gmail.com", 0},
		{"account-edit-new", "account edit example.com/gmail-alice --host imap2.gmail.com --new-mailbox", 0},
		{"account-edit-nothing", "account edit example.com/gmail-alice", 2},
		{"account-edit-certificate", "account edit example.com/gmail-alice --tls-pin AB:cd --no-tls-allow-invalid --forget-tls --json", 0},
		{"account-edit-policy", "account edit example.com/gmail-alice --after move --move-to Archive --after-days 14 --keep-newest 100 --larger-than 10MB " +
			"--mark-seen --start 30d --newest-first --max-message-size 25MB --max-messages 500 --max-bytes 1GB " +
			"--mailboxes all --mailboxes Junk --exclude-mailboxes Lists/% --json", 0},
		{"account-edit-policy-bad", "account edit example.com/gmail-alice --max-bytes lots", 2},
		{"account-edit-ca-missing", "account edit example.com/gmail-alice --tls-ca /nowhere/ca.pem", 2},
		{"account-import", "account import testdata/import.jsonl", 1},
		{"account-import-csv", "account import testdata/import.csv", 1},
		{"account-import-csv-json", "account import testdata/import.csv --json", 1},
		{"account-import-column", "account import testdata/import.jsonl --format csv", 2},
		{"account-import-help", "account import --help", 0},
		{"account-remove", "account remove example.com/gmail-alice --yes", 0},
		{"account-remove-no-terminal", "account remove example.com/gmail-alice", 2},
		{"account-add-no-password", "account add a.example/x --protocol pop3 --host h --username u --forward-to u@a.example", 2},
		{"account-add-too-little", "account add a.example/x --protocol pop3 --forward-to u@a.example", 2},
		{"account-test", "account test example.com/gmail-alice", 0},
		{"account-test-json", "account test example.com/gmail-alice --json", 0},
		{"account-test-rules", "account test example.com/gmail-alice --after delete --keep-newest 3", 0},
		{"account-test-failed", "account test example.com/isp", 1},
		{"account-test-new", "account test example.com/nobody --address alice@outlook.com --examples 2", 0},
		{"account-test-too-little", "account test example.com/nobody --host h", 2},
		{"account-test-no-password", "account test example.com/nobody --address alice@gmail.com", 2},
		{"providers", "providers", 0},
		{"providers-show", "providers show google", 0},
		{"providers-show-json", "providers show alice@gmail.com --json", 0},
		{"help-account-test", "account test --help", 0},
		{"bad-ref", "account show gmail-alice", 2},
		{"bad-command", "acount list", 2},
		{"index-reset", "index reset example.com/gmail-alice -y", 0},
		{"runs", "runs example.com/gmail-alice", 0},
		{"runs-json", "runs example.com/gmail-alice --json", 0},
		{"status", "status", 0},
		{"domain-list", "domain list", 0},
		{"domain-add", "domain add example.org --destination maildir:/var/mail/%d/%n", 0},
		{"domain-edit-unknown", "domain edit example.org --destination maildir:/x", 1},
		{"domain-edit-nothing", "domain edit example.com", 2},
		{"domain-remove", "domain remove example.org", 0},
		{"schedule-explain", "schedule explain example.com/gmail-alice", 0},
		{"schedule-explain-adaptive", "schedule explain example.com/shop", 0},
		{"schedule-explain-held", "schedule explain example.com/held", 0},
		{"account-boost", "account boost example.com/gmail-alice", 0},
		{"account-boost-json", "account boost example.com/gmail-alice --for 5m --json", 0},
		{"account-boost-help", "account boost --help", 0},
		{"schedule-explain-json", "schedule explain example.com/gmail-alice --json", 0},
		{"schedule-explain-never", "schedule explain example.com/isp", 0},
		{"schedule-explain-help", "schedule explain --help", 0},
		{"settings", "settings show", 0},
		{"settings-set-unknown", "settings set colour=red", 2},
		{"settings-set-bad", "settings set pop3_locking=maybe", 2},
		{"dead-list", "dead list", 0},
		{"dead-show", "dead show abcdefghij/p00112233445566", 0},
		{"dead-retry", "dead retry abcdefghij/p00112233445566 no/no abcdefghij/p00112233445567", 1},
		{"dead-drop", "dead drop abcdefghij/p00112233445566 --yes", 0},
		{"fetch-what", "fetch", 2},
		{"help-account-add", "account add --help", 0},
		{"help-fetch", "fetch --help", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newShell(t, &fake{}).run(strings.Fields(tt.args)...)
			if r.code != tt.code {
				t.Errorf("exit code %d, want %d", r.code, tt.code)
			}
			golden(t, tt.name, r)
		})
	}
}

func fetchSteps(last *mailferryv1.FetchResponse) []*mailferryv1.FetchResponse {
	again := step(mailferryv1.Phase_PHASE_QUEUED, 0, 0, 0, 0)
	again.Note = "the queue had lost the job: it is queued again"
	return []*mailferryv1.FetchResponse{
		step(mailferryv1.Phase_PHASE_QUEUED, 0, 0, 0, 0), again, step(mailferryv1.Phase_PHASE_CONNECTING, 0, 0, 0, 0),
		step(mailferryv1.Phase_PHASE_LISTED, 200, 0, 0, 0), step(mailferryv1.Phase_PHASE_FETCHING, 200, 50, 20, 1_000_000),
		step(mailferryv1.Phase_PHASE_FETCHING, 200, 100, 80, 2_000_000), step(mailferryv1.Phase_PHASE_DELIVERING, 200, 200, 150, 34_567_890), last,
	}
}

// halfway is the end of a run whose messages are not all accepted yet.
func halfway() *mailferryv1.FetchResponse {
	d := done(nil)
	d.Progress.Report.Delivered = 150
	return d
}

func TestFetchShowsTheRunLive(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		fake *fake
		args string
		code int
	}{
		{"fetch", &fake{progress: fetchSteps(done(nil))}, "", 0},
		{"fetch-on-their-way", &fake{progress: []*mailferryv1.FetchResponse{halfway()}}, "", 0},
		{"fetch-json", &fake{progress: fetchSteps(done(nil))}, "--json", 0},
		{"fetch-failed", &fake{progress: fetchSteps(done(authFault()))}, "", 1},
		{"fetch-failed-json", &fake{progress: []*mailferryv1.FetchResponse{done(authFault())}}, "--json", 1},
		{"fetch-silent", &fake{progress: fetchSteps(step(mailferryv1.Phase_PHASE_DELIVERING, 0, 0, 0, 0)), broken: true}, "", 1},
		{"fetch-cut", &fake{progress: fetchSteps(step(mailferryv1.Phase_PHASE_DELIVERING, 0, 0, 0, 0))}, "", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newShell(t, tt.fake).run(strings.Fields("fetch example.com/gmail-alice " + tt.args)...)
			if r.code != tt.code {
				t.Errorf("exit code %d, want %d", r.code, tt.code)
			}
			golden(t, tt.name, r)
		})
	}
}

func TestFetchDrawsABarOnATerminal(t *testing.T) {
	t.Parallel()
	s := newShell(t, &fake{progress: fetchSteps(done(nil))})
	s.terminal = true
	r := s.run("fetch", "example.com/gmail-alice")
	lines := strings.Split(strings.TrimSuffix(r.out, "\n"), "\n")
	last := lines[len(lines)-1]
	if r.code != 0 || !strings.Contains(r.out, "\r") || !strings.HasSuffix(last, "example.com/gmail-alice: done: 200 listed, 200 new, 200 fetched, 200 delivered, 3 deleted at the remote, 34.6 MB in 2.13s") {
		t.Errorf("code %d, out %q", r.code, r.out)
	}
}

func TestFetchMany(t *testing.T) {
	t.Parallel()
	failed := report(authFault())
	many := []*mailferryv1.FetchManyResponse{
		{Accounts: 2, Triggered: 2}, {Accounts: 2, Triggered: 2, Finished: 1, Fetched: 200, Delivered: 200, Bytes: 5000, Report: report(nil)},
		{Accounts: 2, Triggered: 2, Finished: 2, Failed: 1, Fetched: 200, Delivered: 200, Bytes: 5000, Report: failed},
	}
	for name, args := range map[string]string{"fetch-all": "", "fetch-all-json": " --json"} {
		r := newShell(t, &fake{many: many}).run(strings.Fields("fetch --all --wait" + args)...)
		if r.code != 1 {
			t.Errorf("%s: exit code %d", name, r.code)
		}
		golden(t, name, r)
	}
	r := newShell(t, &fake{many: many[:1]}).run("fetch", "--domain", "example.com")
	if r.code != 0 || r.out != "triggered 2 of 2 accounts\n" {
		t.Errorf("%+v", r)
	}
}

func TestTheStatusFailsWithAPart(t *testing.T) {
	t.Parallel()
	r := newShell(t, &fake{broken: true}).run("status")
	golden(t, "status-down", r)
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
}

func TestThePasswordComesFromAFileStdinOrTheTerminal(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pw")
	if err := os.WriteFile(file, []byte("from file\r\nrest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, args, stdin, typed, want string
		code                           int
	}{
		{"file", "--password-file " + file, "", "", "from file", 0},
		{"stdin", "--password-stdin", " with spaces \nrest", "", " with spaces ", 0},
		{"terminal", "", "", "typed", "typed", 0},
		{"empty", "--password-stdin", "\n", "", "", 2},
		{"both", "--password-stdin --password-file " + file, "x\n", "", "", 2},
		{"missing file", "--password-file /nowhere", "", "", "", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			s := newShell(t, f)
			s.stdin, s.password = tt.stdin, tt.typed
			r := s.run(strings.Fields("account add a.example/x --protocol pop3 --host h --username u --forward-to u@a.example --interval 5m --after delete " + tt.args)...)
			if r.code != tt.code || f.created.GetPassword() != tt.want {
				t.Fatalf("%+v, password %q", r, f.created.GetPassword())
			}
			if tt.want != "" && strings.Contains(r.out+r.err, tt.want) {
				t.Errorf("the password is printed: %+v", r)
			}
			if a := f.created.GetAccount(); tt.code == 0 && (!a.GetActive() || a.GetInterval().AsDuration() != 5*time.Minute ||
				a.GetAfter() != mailferryv1.AfterCollection_AFTER_COLLECTION_DELETE || a.GetTls() != mailferryv1.TlsMode_TLS_MODE_UNSPECIFIED) {
				t.Errorf("account %v", a)
			}
		})
	}
}

func TestAnEditChangesWhatIsNamedAndRepeatsItself(t *testing.T) {
	t.Parallel()
	f := &fake{changed: 2}
	s := newShell(t, f)
	s.stdin = "new\n"
	r := s.run("account", "edit", "example.com/gmail-alice", "--no-active", "--interval", "0", "--password-stdin")
	if r.code != 0 || len(f.updated) != 3 {
		t.Fatalf("%+v after %d", r, len(f.updated))
	}
	u := f.updated[2]
	a := u.GetAccount()
	if a.GetActive() || a.GetInterval() != nil || u.GetPassword() != "new" || a.GetHost() != "imap.gmail.com" || a.GetRevision() != 7 {
		t.Errorf("%v", u)
	}
	f.changed = 1000
	if r := s.run("account", "edit", "example.com/gmail-alice", "--active"); r.code != 1 || f.updated[3].Password != nil {
		t.Errorf("%+v", r)
	}
}

func TestSettingsSet(t *testing.T) {
	t.Parallel()
	f := &fake{}
	r := newShell(t, f).run("settings", "set", "pop3_locking=off", "interval=5m", "destination=lmtp:[::1]:24")
	if p := f.settings; r.code != 0 || p.Pop3Locking == nil || p.GetPop3Locking() || p.GetInterval().AsDuration() != 5*time.Minute || p.GetDestination() != "lmtp:[::1]:24" {
		t.Errorf("%+v %v", r, p)
	}
	if r := newShell(t, f).run("settings", "set", "destination="); r.code != 0 || f.settings.Destination == nil || f.settings.Pop3Locking != nil || f.settings.Interval != nil {
		t.Errorf("%+v %v", r, f.settings)
	}
}

func TestADomainIsEditedAtTheRevisionThatWasRead(t *testing.T) {
	t.Parallel()
	f := &fake{}
	r := newShell(t, f).run("domain", "edit", "Example.com", "--destination", "")
	if d := f.domain.GetDomain(); r.code != 0 || d.GetRevision() != 3 || d.GetDestination() != "" || f.domain.GetCreate() {
		t.Errorf("%+v %v", r, f.domain)
	}
}

func TestTheDataFolderNamesServerAndToken(t *testing.T) {
	t.Parallel()
	srv := (&fake{}).serve(t)
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &shell{t: t}
	if r := s.run("status", "--data", dir); r.code != 2 || !strings.Contains(r.err, "mailferry up") {
		t.Errorf("without a client file: %+v", r)
	}
	write("client.json", `{"server":"`+srv.URL+`","token_file":"token"}`)
	if r := s.run("status", "--data", dir); r.code != 1 || !strings.Contains(r.err, "token file") {
		t.Errorf("without a token: %+v", r)
	}
	write("token", token+"\n")
	if r := s.run("status", "--data", dir); r.code != 0 {
		t.Errorf("%+v", r)
	}
	// The token of the folder is not for another server.
	if r := s.run("status", "--data", dir, "--server", srv.URL); r.code != 2 || !strings.Contains(r.err, "no token") {
		t.Errorf("%+v", r)
	}
	if r := s.run("status", "--server", srv.URL, "--token-file", filepath.Join(dir, "token")); r.code != 0 {
		t.Errorf("%+v", r)
	}
	write("token", "wrong-token-wrong\n")
	if r := s.run("status", "--data", dir); r.code != 1 || !strings.HasSuffix(r.err, "[auth]\n") {
		t.Errorf("wrong token: %+v", r)
	}
}

func TestErrorsOfTheConnectionAreOneLine(t *testing.T) {
	t.Parallel()
	s := &shell{t: t, server: "http://127.0.0.1:1", env: map[string]string{"MAILFERRY_TOKEN": token}}
	for _, args := range []string{"status", "fetch a.example/x", "fetch --all"} {
		r := s.run(strings.Fields(args)...)
		want := "mailferry: control at http://127.0.0.1:1 does not answer: connection refused; start it with 'mailferry up', or check --server [refused]\n"
		if r.code != 1 || r.err != want {
			t.Errorf("%s: %+v", args, r)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := newShell(t, &fake{})
	for _, args := range []string{"status", "fetch a.example/x"} {
		if r := f.with(ctx, strings.Fields(args)...); r.code != 1 || !strings.HasSuffix(r.err, "[canceled]\n") || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if r := (&shell{t: t, server: "localhost:8025", env: s.env}).run("status"); r.code != 2 {
		t.Errorf("%+v", r)
	}
}

func TestThePasswordOfADestinationComesFromAFileOrStandardInput(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	s := newShell(t, f)
	r := s.run("domain", "add", "example.org", "--destination", "lmtp:h:24", "--destination-username", "ferry", "--destination-password-file", file)
	if d := f.domain; r.code != 0 || d.GetDomain().GetDestinationUsername() != "ferry" || d.GetDestinationPassword() != "from a file" || d.MailboxDestinationPassword != nil {
		t.Errorf("%+v %v", r, d)
	}
	if r := s.run("domain", "edit", "example.com", "--mailbox-destination-password-file", file); r.code != 0 ||
		f.domain.GetMailboxDestinationPassword() != "from a file" || f.domain.DestinationPassword != nil {
		t.Errorf("%+v %v", r, f.domain)
	}
	s.stdin = "from standard input\n"
	r = s.run("settings", "set", "destination_username=ferry", "--destination-password-stdin")
	if p := f.settings; r.code != 0 || p.GetDestinationUsername() != "ferry" || p.GetDestinationPassword() != "from standard input" {
		t.Errorf("%+v %v", r, p)
	}
	if r := s.run("settings", "set", "--destination-password-file", file); r.code != 0 || f.settings.GetDestinationPassword() != "from a file" {
		t.Errorf("%+v %v", r, f.settings)
	}
	for _, args := range []string{"settings set", "settings set --destination-password-file /not/there", "domain edit example.com"} {
		if r := s.run(strings.Fields(args)...); r.code != 2 {
			t.Errorf("%s: %+v", args, r)
		}
	}
}
