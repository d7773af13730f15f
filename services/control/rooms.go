package control

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/due"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/oauth"
	"github.com/mailferry/mailferry/pkg/queue"
	"github.com/mailferry/mailferry/pkg/transit"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// Directory is what control needs of [directory.Directory].
type Directory interface {
	CreateAccount(ctx context.Context, a account.Account) (account.Account, error)
	UpdateAccount(ctx context.Context, a account.Account) (account.Account, error)
	DeleteAccount(ctx context.Context, domain, name string, revision uint64) error
	Account(ctx context.Context, domain, name string) (account.Account, error)
	Accounts(ctx context.Context, domain string) iter.Seq2[account.Account, error]
	AtMost(ctx context.Context, domain string) (int, error)
	Find(ctx context.Context, named []account.Account) (map[string]account.Account, error)
	Domains(ctx context.Context) ([]directory.Domain, error)
	Domain(ctx context.Context, name string) (directory.Domain, error)
	DomainOrDefault(ctx context.Context, name string) (directory.Domain, error)
	DestinationFor(ctx context.Context, domain string, t account.Target) (string, error)
	PutDomain(ctx context.Context, d directory.Domain) (directory.Domain, error)
	DeleteDomain(ctx context.Context, name string) error
	Settings(ctx context.Context) (directory.Settings, error)
	UpdateSettings(ctx context.Context, change func(*directory.Settings) error) (directory.Settings, error)
	Collection(ctx context.Context, uid string) (directory.Collection, error)
	UpdateCollection(ctx context.Context, uid string, change func(*directory.Collection)) error
	DeleteCollection(ctx context.Context, uid string) error
}

// Ledger is what control needs of [ledger.Ledger].
type Ledger interface {
	Enroll(ctx context.Context, slot ledger.Slot, account string) error
	EnrollAll(ctx context.Context, all []ledger.Enrolment) error
	Withdraw(ctx context.Context, slot ledger.Slot, account string) error
	Reset(ctx context.Context, slot ledger.Slot, account, epoch string) (int, error)
	Erase(ctx context.Context, slot ledger.Slot, account string) error
	Copy(ctx context.Context, from, to ledger.Slot, account string) error
	Retry(ctx context.Context, slot ledger.Slot, account string, key ledger.Key, size, listed int64) (ledger.UnparkResult, error)
	Unpark(ctx context.Context, slot ledger.Slot, account string, key ledger.Key) (ledger.UnparkResult, error)
	State(ctx context.Context, slot ledger.Slot, account string) (ledger.Counts, error)
	TestBlocked(ctx context.Context, domain string) (time.Time, error)
}

// Queue is what control needs of [queue.Queue].
type Queue interface {
	Publish(ctx context.Context, j queue.Job) error
	PublishAll(ctx context.Context, jobs []queue.Job) []error
	Pending(ctx context.Context) (int, error)
	Reports(ctx context.Context, accountUID string, limit int) ([]*mailferryv1.RunReport, error)
	FollowProgress(ctx context.Context, accountUID string) (<-chan *mailferryv1.Progress, func(), error)
	EraseAccount(ctx context.Context, accountUID string) error
	Test(ctx context.Context, j *mailferryv1.TestJob) (*mailferryv1.TestReport, error)
	Held(ctx context.Context, t queue.Trigger, accountUID string) string
	PublishTrigger(ctx context.Context, r *mailferryv1.TriggerRequest) error
	ServeTriggers(ctx context.Context, stop <-chan struct{}, answer, carry queue.Answer) error
}

// Transit is what control needs of [transit.Transit].
type Transit interface {
	Stats(ctx context.Context) (transit.Stats, error)
	Held(ctx context.Context, accountUID string) (map[string]bool, error)
	Dead(ctx context.Context, accountUID string, limit int) ([]*transit.DeadEntry, error)
	GetDead(ctx context.Context, id string) (*transit.DeadEntry, error)
	DropDead(ctx context.Context, e *transit.DeadEntry) error
	Republish(ctx context.Context, m *mailferryv1.FetchedMessage) error
	EraseAccount(ctx context.Context, accountUID string) error
	OpenBody(ctx context.Context, m *mailferryv1.FetchedMessage) (io.ReadCloser, error)
}

// Notices is what control needs of [notice.Notices].
type Notices interface {
	EraseAccount(ctx context.Context, accountUID string) error
}

// Due is what control needs of [due.Index].
type Due interface {
	Get(ctx context.Context, uid string) (due.Entry, time.Time, error)
	Boost(ctx context.Context, uid string, d, every time.Duration) (until, next time.Time, err error)
}

// Budget is what control needs of [budget.Budget].
type Budget interface {
	Triggers(ctx context.Context, domain string, perMinute, n int) (got int, wait time.Duration, err error)
}

// Vault is what control needs of the vault.
type Vault interface {
	Seal(plain, context string) ([]byte, error)
}

// Consents is what control needs of [oauth.Broker].
type Consents interface {
	Start(ctx context.Context, o oauth.Owner) (link string, err error)
	Finish(ctx context.Context, state, code string) (oauth.Owner, error)
	StartDevice(ctx context.Context, o oauth.Owner) (oauth.Device, error)
	AwaitDevice(ctx context.Context, d oauth.Device) error
	Given(ctx context.Context, uid string) (time.Time, error)
	Erase(ctx context.Context, uid string) error
}

// slotOf returns the slot of an account's remote mailbox.
func slotOf(a account.Account) (ledger.Slot, error) {
	slot, err := ledger.SlotOfAccount(a)
	if err != nil {
		return "", asError("account "+a.Ref(), err)
	}
	return slot, nil
}
