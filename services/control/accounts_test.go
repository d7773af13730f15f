package control_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/mailferry/mailferry/services/control"
)

func now() *timestamppb.Timestamp { return timestamppb.Now() }

func (h *house) slot(name string) (ledger.Slot, account.Account) {
	h.t.Helper()
	a, err := h.dir.Account(h.t.Context(), "example.com", name)
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := ledger.SlotOfAccount(a)
	if err != nil {
		h.t.Fatal(err)
	}
	return s, a
}

// collect makes the index of an account hold n collected keys.
func (h *house) collect(name string, n int) []ledger.Key {
	h.t.Helper()
	slot, a := h.slot(name)
	ctx := h.t.Context()
	hold, err := h.led.Acquire(ctx, ledger.AcquireRequest{Slot: slot, Account: a.UID, Job: "j", Owner: "w"})
	if err != nil {
		h.t.Fatal(err)
	}
	epoch := hold.Epoch()
	if epoch == "" {
		epoch = "e1"
		if err := hold.OpenEpoch(ctx, epoch); err != nil {
			h.t.Fatal(err)
		}
		if err := h.dir.UpdateCollection(ctx, a.UID, func(c *directory.Collection) { c.Epoch, c.Since = epoch, time.Now() }); err != nil {
			h.t.Fatal(err)
		}
	}
	keyer := ledger.NewKeyer(h.vault.KeySecret())
	var keys []ledger.Key
	for i := range n {
		k := keyer.UniqueID(fmt.Sprintf("uid-%d", i))
		keys = append(keys, k)
		if _, err := hold.Mark(ctx, []ledger.MarkRequest{{Key: k, Size: 10, Listed: 10}}); err != nil {
			h.t.Fatal(err)
		}
		taken := h.take(slot, a, epoch, k)
		if _, err := h.led.Commit(ctx, taken.Lease); err != nil {
			h.t.Fatal(err)
		}
	}
	if _, err := hold.Release(ctx); err != nil {
		h.t.Fatal(err)
	}
	return keys
}

func (h *house) take(slot ledger.Slot, a account.Account, epoch string, k ledger.Key) ledger.Taken {
	h.t.Helper()
	taken, err := h.led.Take(h.t.Context(), ledger.TakeRequest{Slot: slot, Account: a.UID, Epoch: epoch, Key: k, Size: 10, Listed: 10, Holder: "d"})
	if err != nil || taken.Verdict != ledger.Deliver {
		h.t.Fatalf("%v %v", taken.Verdict, err)
	}
	return taken
}

func TestAnAccountIsCreatedWithItsPasswordSealed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	in := sample("alice")
	in.Uid, in.Revision, in.SealedPassword, in.CredentialVersion = "mine", 99, []byte("mine"), 7
	in.Domain = " Example.COM "
	res, err := h.accounts.CreateAccount(t.Context(), &mailferryv1.CreateAccountRequest{Account: in, Password: canary})
	if err != nil {
		t.Fatal(err)
	}
	a := res.GetAccount()
	if a.GetUid() == "mine" || a.GetUid() == "" || len(a.GetSealedPassword()) > 0 || a.GetDomain() != "example.com" || a.GetCredentialVersion() != 1 ||
		a.GetTls() != mailferryv1.TlsMode_TLS_MODE_DETECT || a.GetAfter() != mailferryv1.AfterCollection_AFTER_COLLECTION_LEAVE {
		t.Errorf("%v", a)
	}
	slot, stored := h.slot("alice")
	if got, err := h.vault.Unseal(stored.SealedPassword, stored.SealContext()); err != nil || got != canary {
		t.Errorf("the stored password does not open: %v", err)
	}
	if n, err := h.redis.Client.HLen(t.Context(), "mf:{"+string(slot)+"}:accounts").Result(); err != nil || n != 1 {
		t.Errorf("enrolled %d, %v", n, err)
	}
	got, err := h.accounts.GetAccount(t.Context(), &mailferryv1.GetAccountRequest{Ref: ref("alice")})
	if err != nil || !proto.Equal(got.GetAccount(), a) || got.GetState().GetLastRunAt() != nil {
		t.Errorf("%v, %v", got, err)
	}
	_, err = h.accounts.CreateAccount(t.Context(), &mailferryv1.CreateAccountRequest{Account: sample("alice"), Password: canary})
	wantError(t, err, connect.CodeAlreadyExists, fault.Policy, "account example.com/alice exists already", "account edit example.com/alice")
}

func TestANameIsGivenOnceToConcurrentCallers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = h.accounts.CreateAccount(t.Context(), &mailferryv1.CreateAccountRequest{Account: sample("x"), Password: canary})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if connect.CodeOf(err) != connect.CodeAlreadyExists {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
}

func TestARefusedRequestNamesTheField(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	tests := []struct {
		field  string
		change func(*mailferryv1.CreateAccountRequest)
	}{
		{"account", func(r *mailferryv1.CreateAccountRequest) { r.Account = nil }},
		{"domain", func(r *mailferryv1.CreateAccountRequest) { r.Account.Domain = "exa mple" }},
		{"name", func(r *mailferryv1.CreateAccountRequest) { r.Account.Name = "a/b" }},
		{"name", func(r *mailferryv1.CreateAccountRequest) { r.Account.Name = "a\nb" }},
		{"protocol", func(r *mailferryv1.CreateAccountRequest) { r.Account.Protocol = 0 }},
		{"host", func(r *mailferryv1.CreateAccountRequest) { r.Account.Host = "h:99999" }},
		{"host", func(r *mailferryv1.CreateAccountRequest) { r.Account.Host = "pop.müller.example" }},
		{"username", func(r *mailferryv1.CreateAccountRequest) { r.Account.Username = "" }},
		{"forward_to", func(r *mailferryv1.CreateAccountRequest) { r.Account.ForwardTo = "nobody" }},
		{"forward_to", func(r *mailferryv1.CreateAccountRequest) {
			r.Account.ForwardTo = "alice@example.com/No/destination/holds/it"
		}},
		{"forward_to", func(r *mailferryv1.CreateAccountRequest) { r.Account.ForwardTo = "alice@example.org/Of/somebody/else" }},
		{"interval", func(r *mailferryv1.CreateAccountRequest) { r.Account.Interval = durationpb.New(time.Second) }},
		{"apop", func(r *mailferryv1.CreateAccountRequest) {
			r.Account.Apop, r.Account.Protocol = true, mailferryv1.Protocol_PROTOCOL_IMAP
		}},
		{"lenient_dot", func(r *mailferryv1.CreateAccountRequest) {
			r.Account.LenientDot, r.Account.Protocol = true, mailferryv1.Protocol_PROTOCOL_IMAP
		}},
		{"push", func(r *mailferryv1.CreateAccountRequest) {
			r.Account.Push, r.Account.Protocol = true, mailferryv1.Protocol_PROTOCOL_POP3
		}},
		{"date", func(r *mailferryv1.CreateAccountRequest) {
			r.Account.Date, r.Account.Protocol = mailferryv1.MessageDate_MESSAGE_DATE_RECEIVED, mailferryv1.Protocol_PROTOCOL_IMAP
		}},
		{"date", func(r *mailferryv1.CreateAccountRequest) { // no host is declared
			r.Account.Date, r.Account.Protocol = mailferryv1.MessageDate_MESSAGE_DATE_RECEIVED, mailferryv1.Protocol_PROTOCOL_POP3
		}},
		{"client_address", func(r *mailferryv1.CreateAccountRequest) {
			r.Account.ClientAddress = mailferryv1.ClientAddress_CLIENT_ADDRESS_AUTO
		}},
		{"password", func(r *mailferryv1.CreateAccountRequest) { r.Password = "" }},
		{"password", func(r *mailferryv1.CreateAccountRequest) { r.Password = canary + "\r\nQUIT" }},
	}
	for _, tt := range tests {
		req := &mailferryv1.CreateAccountRequest{Account: sample("x"), Password: canary}
		tt.change(req)
		_, err := h.accounts.CreateAccount(t.Context(), req)
		wantError(t, err, connect.CodeInvalidArgument, fault.Policy, tt.field+": ", "correct "+tt.field)
	}
	dest := "maildir:/var/mail/%u"
	if _, err := h.fleet.PutSettings(t.Context(), &mailferryv1.PutSettingsRequest{MailboxDestination: &dest}); err != nil {
		t.Fatal(err)
	}
	path := &mailferryv1.CreateAccountRequest{Account: sample("path"), Password: canary}
	path.Account.ForwardTo = "alice@example.com/A/destination/holds/it"
	if _, err := h.accounts.CreateAccount(t.Context(), path); err != nil {
		t.Errorf("a mailbox path that a destination holds: %v", err)
	}
	_, err := h.accounts.GetAccount(t.Context(), &mailferryv1.GetAccountRequest{Ref: ref("nobody")})
	wantError(t, err, connect.CodeNotFound, fault.NotFound, "account example.com/nobody does not exist", "mailferry account list")
	_, err = h.accounts.GetAccount(t.Context(), &mailferryv1.GetAccountRequest{})
	wantError(t, err, connect.CodeInvalidArgument, fault.Policy, "ref")
}

func TestAccountsAreListedInPages(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, n := range []string{"d", "a", "e", "c", "b"} {
		h.add(n)
	}
	if _, err := h.accounts.CreateAccount(t.Context(), &mailferryv1.CreateAccountRequest{Account: func() *mailferryv1.Account {
		a := sample("z")
		a.Domain = "another.example"
		return a
	}(), Password: canary}); err != nil {
		t.Fatal(err)
	}
	h.collect("c", 3)
	var names []string
	for page := ""; ; {
		res, err := h.accounts.ListAccounts(t.Context(), &mailferryv1.ListAccountsRequest{PageSize: 2, PageToken: page})
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range res.GetAccounts() {
			names = append(names, a.GetDomain()[:1]+"/"+a.GetName())
			if len(a.GetSealedPassword()) > 0 || a.GetName() == "c" && res.GetStates()[i].GetCollected() != 3 {
				t.Errorf("%v %v", a, res.GetStates()[i])
			}
		}
		if page = res.GetNextPageToken(); page == "" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "a/z e/a e/b e/c e/d e/e" {
		t.Errorf("got %s", got)
	}
	res, err := h.accounts.ListAccounts(t.Context(), &mailferryv1.ListAccountsRequest{Domain: "another.example"})
	if err != nil || len(res.GetAccounts()) != 1 {
		t.Errorf("%v %v", res, err)
	}
	_, err = h.accounts.ListAccounts(t.Context(), &mailferryv1.ListAccountsRequest{PageToken: "%%"})
	wantError(t, err, connect.CodeInvalidArgument, fault.Policy, "page_token")
}

func (h *house) edit(name string, change func(*mailferryv1.UpdateAccountRequest)) (*mailferryv1.UpdateAccountResponse, error) {
	h.t.Helper()
	got, err := h.accounts.GetAccount(h.t.Context(), &mailferryv1.GetAccountRequest{Ref: ref(name)})
	if err != nil {
		h.t.Fatal(err)
	}
	req := &mailferryv1.UpdateAccountRequest{Account: got.GetAccount()}
	change(req)
	return h.accounts.UpdateAccount(h.t.Context(), req)
}

func (h *house) collected(name string) int64 {
	h.t.Helper()
	got, err := h.accounts.GetAccount(h.t.Context(), &mailferryv1.GetAccountRequest{Ref: ref(name)})
	if err != nil {
		h.t.Fatal(err)
	}
	return got.GetState().GetCollected()
}

func TestAnEditKeepsWhatIsImmutableAndThePassword(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	before := h.add("a")
	res, err := h.edit("a", func(r *mailferryv1.UpdateAccountRequest) {
		r.Account.ForwardTo, r.Account.CreatedAt, r.Account.SealedPassword, r.Account.CredentialVersion = "b@example.com", nil, []byte("x"), 50
	})
	if err != nil || res.GetIndexCopied() || res.GetIndexNew() {
		t.Fatal(res, err)
	}
	a := res.GetAccount()
	if a.GetUid() != before.GetUid() || a.GetForwardTo() != "b@example.com" || a.GetCredentialVersion() != 1 || a.GetRevision() <= before.GetRevision() {
		t.Errorf("%v", a)
	}
	_, stored := h.slot("a")
	if got, err := h.vault.Unseal(stored.SealedPassword, stored.SealContext()); err != nil || got != canary {
		t.Errorf("password: %v", err)
	}
	if _, err = h.edit("a", func(r *mailferryv1.UpdateAccountRequest) { r.Password = proto.String("other") }); err != nil {
		t.Fatal(err)
	}
	_, stored = h.slot("a")
	if got, err := h.vault.Unseal(stored.SealedPassword, stored.SealContext()); err != nil || got != "other" || stored.CredentialVersion != 2 {
		t.Errorf("password %v, version %d", err, stored.CredentialVersion)
	}
	_, err = h.edit("a", func(r *mailferryv1.UpdateAccountRequest) { r.Account.Revision-- })
	wantError(t, err, connect.CodeAborted, fault.Policy, "example.com/a was changed")
	_, err = h.edit("a", func(r *mailferryv1.UpdateAccountRequest) { r.Account.Uid = "other" })
	wantError(t, err, connect.CodeAborted, fault.Policy, "example.com/a was changed")
}

func TestAnEditOfTheMailboxTakesTheIndexAlongUnlessItIsAnother(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.add("a")
	h.collect("a", 5)
	res, err := h.edit("a", func(r *mailferryv1.UpdateAccountRequest) { r.Account.Host = "pop2.isp.net" })
	if err != nil || !res.GetIndexCopied() || res.GetAccount().GetCredentialVersion() != 2 || h.collected("a") != 5 {
		t.Fatalf("%v %v, %d collected", res, err, h.collected("a"))
	}
	// Standard ports are one mailbox.
	res, err = h.edit("a", func(r *mailferryv1.UpdateAccountRequest) { r.Account.Host = "POP2.isp.net:995" })
	if err != nil || res.GetIndexCopied() || h.collected("a") != 5 {
		t.Errorf("%v %v, %d collected", res, err, h.collected("a"))
	}
	res, err = h.edit("a", func(r *mailferryv1.UpdateAccountRequest) { r.Account.Username, r.NewMailbox = "bob", true })
	if err != nil || !res.GetIndexNew() || h.collected("a") != 0 {
		t.Errorf("%v %v, %d collected", res, err, h.collected("a"))
	}
	_, a := h.slot("a")
	if c, err := h.dir.Collection(t.Context(), a.UID); err != nil || c.Epoch != "" {
		t.Errorf("a new mailbox looks like a lost index: %v %v", c, err)
	}
	// A message of the old mailbox that is still under way is delivered under the old index.
	old := ledger.SlotOf("pop3", "pop2.isp.net", 110, "a")
	h.take(old, a, "e1", ledger.NewKeyer(h.vault.KeySecret()).UniqueID("late"))
	// Back to the mailbox whose index was taken away: that is no new one.
	_, err = h.edit("a", func(r *mailferryv1.UpdateAccountRequest) {
		r.Account.Host, r.Account.Username, r.NewMailbox = "pop.isp.net", "a", true
	})
	wantError(t, err, connect.CodeFailedPrecondition, fault.Policy, "example.com/a", "index reset example.com/a")
	res, err = h.edit("a", func(r *mailferryv1.UpdateAccountRequest) { r.Account.Protocol = mailferryv1.Protocol_PROTOCOL_IMAP })
	if err != nil || !res.GetIndexNew() {
		t.Errorf("%v %v", res, err)
	}
}

// refusing is a directory that refuses edits.
type refusing struct {
	control.Directory
	err error
}

func (r *refusing) UpdateAccount(ctx context.Context, a account.Account) (account.Account, error) {
	if r.err != nil {
		return a, r.err
	}
	return r.Directory.UpdateAccount(ctx, a)
}

func TestARefusedEditTakesTheIndexBack(t *testing.T) {
	t.Parallel()
	r := &refusing{}
	h := newHouse(t, func(d *control.Deps, _ *control.Config) { r.Directory, d.Directory = d.Directory, r })
	h.add("a")
	h.collect("a", 5)
	for host, fresh := range map[string]bool{"pop2.isp.net": false, "pop3.isp.net": true} {
		r.err = directory.ErrConflict
		_, err := h.edit("a", func(r *mailferryv1.UpdateAccountRequest) { r.Account.Host, r.NewMailbox = host, fresh })
		wantError(t, err, connect.CodeAborted, fault.Policy, "example.com/a")
		if n := h.collected("a"); n != 5 {
			t.Errorf("%d collected", n)
		}
		h.collect("a", 0) // the lock can be had
	}
	r.err = fault.New(fault.Timeout, "directory", errors.New("no answer"))
	_, err := h.edit("a", func(r *mailferryv1.UpdateAccountRequest) { r.Account.Host = "pop2.isp.net" })
	wantError(t, err, connect.CodeUnavailable, fault.Timeout, "example.com/a", "mailferry status")
}

func TestADeletedAccountLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.add("a")
	h.collect("a", 2)
	slot, _ := h.slot("a")
	letter := h.park("a", "stuck")
	if err := h.queue.PutReport(t.Context(), &mailferryv1.RunReport{AccountUid: a.GetUid(), RunId: "r"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.accounts.DeleteAccount(t.Context(), &mailferryv1.DeleteAccountRequest{Ref: ref("a")}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.led.State(t.Context(), slot, a.GetUid()); !errors.Is(err, ledger.ErrGone) {
		t.Errorf("ledger: %v", err)
	}
	if r, err := h.queue.Reports(t.Context(), a.GetUid(), 0); err != nil || len(r) > 0 {
		t.Errorf("runs: %v %v", r, err)
	}
	if d, err := h.trans.Dead(t.Context(), a.GetUid(), 10); err != nil || len(d) > 0 {
		t.Errorf("dead %s: %v %v", letter, d, err)
	}
	if c, err := h.dir.Collection(t.Context(), a.GetUid()); err != nil || c.Epoch != "" {
		t.Errorf("collection: %v %v", c, err)
	}
	_, err := h.accounts.DeleteAccount(t.Context(), &mailferryv1.DeleteAccountRequest{Ref: ref("a")})
	wantError(t, err, connect.CodeNotFound, fault.NotFound, "example.com/a")
	if again := h.add("a"); again.GetUid() == a.GetUid() {
		t.Error("the same uid again")
	}
}

// forgetful is a ledger whose Erase fails.
type forgetful struct {
	control.Ledger
	err error
}

func (f *forgetful) Erase(ctx context.Context, slot ledger.Slot, account string) error {
	if f.err != nil {
		return f.err
	}
	return f.Ledger.Erase(ctx, slot, account)
}

func TestAnAccountIsThereUntilAllItLeftIsRemoved(t *testing.T) {
	t.Parallel()
	f := &forgetful{err: fault.New(fault.Internal, "ledger erase", errors.New("no answer"))}
	h := newHouse(t, func(d *control.Deps, _ *control.Config) { f.Ledger, d.Ledger = d.Ledger, f })
	a := h.add("a")
	slot, _ := h.slot("a")
	remove := func() error {
		_, err := h.accounts.DeleteAccount(t.Context(), &mailferryv1.DeleteAccountRequest{Ref: ref("a")})
		return err
	}
	wantError(t, remove(), connect.CodeUnavailable, fault.Internal, "example.com/a", "switched off", "remove it again")
	got, err := h.accounts.GetAccount(t.Context(), &mailferryv1.GetAccountRequest{Ref: ref("a")})
	if err != nil || got.GetAccount().GetActive() {
		t.Fatalf("%v %v", got, err)
	}
	f.err = nil
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.led.State(t.Context(), slot, a.GetUid()); !errors.Is(err, ledger.ErrGone) {
		t.Errorf("ledger: %v", err)
	}
	wantError(t, remove(), connect.CodeNotFound, fault.NotFound, "example.com/a")
}

func TestAResetForgetsAndTheLossOfTheIndexIsStillSeen(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.add("a")
	reset := func() *mailferryv1.ResetIndexResponse {
		res, err := h.accounts.ResetIndex(t.Context(), &mailferryv1.ResetIndexRequest{Ref: ref("a")})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	reset()
	if c, err := h.dir.Collection(t.Context(), a.GetUid()); err != nil || c.Epoch != "" {
		t.Errorf("an account that never collected: %v %v", c, err)
	}
	h.collect("a", 7)
	if err := h.dir.UpdateCollection(t.Context(), a.GetUid(), func(c *directory.Collection) { c.Epoch, c.Since = "e1", time.Now() }); err != nil {
		t.Fatal(err)
	}
	if n := reset().GetForgotten(); n != 7 || h.collected("a") != 0 {
		t.Errorf("forgot %d, %d left", n, h.collected("a"))
	}
	got, err := h.accounts.GetAccount(t.Context(), &mailferryv1.GetAccountRequest{Ref: ref("a")})
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.dir.Collection(t.Context(), a.GetUid())
	if err != nil || c.Epoch != got.GetState().GetEpoch() || c.Epoch == "" || c.Epoch == "e1" {
		t.Errorf("collection %v %v, index %v", c, err, got.GetState())
	}
}

// TestADomainHasNoMoreAccountsThanItMay caps them by the settings, and for one domain otherwise.
func TestADomainHasNoMoreAccountsThanItMay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx, two := t.Context(), int32(2)
	res, err := h.fleet.PutSettings(ctx, &mailferryv1.PutSettingsRequest{MaxAccounts: &two})
	if err != nil || res.GetSettings().GetMaxAccounts() != 2 {
		t.Fatal(res, err)
	}
	h.add("a")
	h.add("b")
	_, err = h.accounts.CreateAccount(ctx, &mailferryv1.CreateAccountRequest{Account: sample("c"), Password: canary})
	wantError(t, err, connect.CodeResourceExhausted, fault.Policy, "domain example.com has all the accounts that it may have: 2", "domain edit example.com --max-accounts")
	d, err := h.fleet.PutDomain(ctx, &mailferryv1.PutDomainRequest{Domain: &mailferryv1.Domain{Name: "example.com", MaxAccounts: -1, Weight: 3, MaxRuns: 4, MaxJobsPerMinute: 5}})
	if g := d.GetDomain(); err != nil || g.GetMaxAccounts() != -1 || g.GetWeight() != 3 || g.GetMaxRuns() != 4 || g.GetMaxJobsPerMinute() != 5 {
		t.Fatal(d, err)
	}
	h.add("c")
	_, err = h.fleet.PutDomain(ctx, &mailferryv1.PutDomainRequest{Domain: &mailferryv1.Domain{Name: "example.com", MaxRuns: -2}})
	wantError(t, err, connect.CodeInvalidArgument, fault.Policy, "max_runs: ")
}
