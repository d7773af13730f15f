package fault

import (
	"strings"
	"time"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// Kind says what went wrong. Its values are those of the wire enum, so that a report, a metric and
// an error mean the same thing. None is the zero value: nothing went wrong.
type Kind mailferryv1.FaultKind

// The kinds of DESIGN's table; see [Kind.Verdict] for what follows from each.
const (
	None                 = Kind(mailferryv1.FaultKind_FAULT_KIND_UNSPECIFIED)
	Auth                 = Kind(mailferryv1.FaultKind_FAULT_KIND_AUTH)
	AuthWithdrawn        = Kind(mailferryv1.FaultKind_FAULT_KIND_AUTH_WITHDRAWN)
	ConsentNeeded        = Kind(mailferryv1.FaultKind_FAULT_KIND_CONSENT_NEEDED)
	TLS                  = Kind(mailferryv1.FaultKind_FAULT_KIND_TLS)
	DNS                  = Kind(mailferryv1.FaultKind_FAULT_KIND_DNS)
	Refused              = Kind(mailferryv1.FaultKind_FAULT_KIND_REFUSED)
	Timeout              = Kind(mailferryv1.FaultKind_FAULT_KIND_TIMEOUT)
	Network              = Kind(mailferryv1.FaultKind_FAULT_KIND_NETWORK)
	Protocol             = Kind(mailferryv1.FaultKind_FAULT_KIND_PROTOCOL)
	Unavailable          = Kind(mailferryv1.FaultKind_FAULT_KIND_UNAVAILABLE)
	InUse                = Kind(mailferryv1.FaultKind_FAULT_KIND_IN_USE)
	Throttled            = Kind(mailferryv1.FaultKind_FAULT_KIND_THROTTLED)
	RemoteQuota          = Kind(mailferryv1.FaultKind_FAULT_KIND_REMOTE_QUOTA)
	NotFound             = Kind(mailferryv1.FaultKind_FAULT_KIND_NOT_FOUND)
	Policy               = Kind(mailferryv1.FaultKind_FAULT_KIND_POLICY)
	DestinationTemporary = Kind(mailferryv1.FaultKind_FAULT_KIND_DESTINATION_TEMPORARY)
	DestinationRejected  = Kind(mailferryv1.FaultKind_FAULT_KIND_DESTINATION_REJECTED)
	DestinationQuota     = Kind(mailferryv1.FaultKind_FAULT_KIND_DESTINATION_QUOTA)
	BackPressure         = Kind(mailferryv1.FaultKind_FAULT_KIND_BACK_PRESSURE)
	Canceled             = Kind(mailferryv1.FaultKind_FAULT_KIND_CANCELED)
	Internal             = Kind(mailferryv1.FaultKind_FAULT_KIND_INTERNAL)
)

// String returns the kind as metrics, docs and the command line write it, for instance "auth-withdrawn";
// "" for None.
func (k Kind) String() string {
	if k == None {
		return ""
	}
	name, ok := mailferryv1.FaultKind_name[int32(k)]
	if !ok {
		return "internal"
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, "FAULT_KIND_")), "_", "-")
}

// Verdict is what follows from a kind.
type Verdict struct {
	// Side says whose turn it is: "owner", "remote", "destination" or "us".
	Side string
	// First and Cap are the curve of the back-off, see schedule.Curve: First after one failure, doubled for each one more
	// up to Cap. First 0 means at once.
	First, Cap time.Duration
	// Counts says whether a run that ends so is a failure of the account.
	Counts bool
	// Advice tells the reader what to do.
	Advice string
}

var verdicts = map[Kind]Verdict{
	None:          {Side: "us"},
	Auth:          {"owner", 15 * time.Minute, 6 * time.Hour, true, "check the user name and the password; an edit of the account is tried at once"},
	AuthWithdrawn: {"owner", 24 * time.Hour, 24 * time.Hour, true, "the provider no longer accepts this way to sign in; choose another one"},
	ConsentNeeded: {"owner", 24 * time.Hour, 24 * time.Hour, true, "the owner has to give consent at the provider again"},
	TLS:           {"owner", 30 * time.Minute, 6 * time.Hour, true, "check the TLS mode, the port and the certificate of the server; a private CA is trusted with --remote-ca"},
	DNS:           {"owner", 5 * time.Minute, 2 * time.Hour, true, "check the spelling of the host name"},
	Refused:       {"remote", 2 * time.Minute, time.Hour, true, "check host and port; nothing listens there now"},
	Timeout:       {"remote", 2 * time.Minute, time.Hour, true, "the server did not answer in time; it is tried again"},
	Network:       {"remote", 2 * time.Minute, time.Hour, true, "the connection broke; it is tried again"},
	Protocol:      {"remote", 10 * time.Minute, 6 * time.Hour, true, "the server did not speak the protocol; check protocol, port and TLS mode"},
	Unavailable:   {"remote", 2 * time.Minute, time.Hour, true, "the server says it is out of order for now; it is tried again"},
	InUse:         {"remote", 3 * time.Minute, 10 * time.Minute, false, "another session holds the mailbox; it is tried again in minutes"},
	Throttled:     {"remote", 15 * time.Minute, 2 * time.Hour, false, "the server, or a limit of this installation, lets it wait; it is tried again by itself"},
	RemoteQuota:   {"owner", 12 * time.Hour, 24 * time.Hour, true, "the mailbox is over a limit of its provider until the next day"},
	NotFound:      {"owner", 30 * time.Minute, 6 * time.Hour, true, "the mailbox or account does not exist at the server; check the user name"},
	Policy:        {"owner", 6 * time.Hour, 24 * time.Hour, true, "a rule of this installation forbids it; edit the account or ask the administrator"},
	DestinationTemporary: {"destination", time.Minute, time.Hour, false,
		"the destination refused for now; it is tried again"},
	DestinationRejected: {"destination", time.Minute, time.Hour, false,
		"the destination refused for good; see 'mailferry dead list' and check the Forward to address"},
	DestinationQuota: {"destination", time.Hour, 6 * time.Hour, true, "the local mailbox is over quota; make room there"},
	BackPressure:     {"us", time.Minute, 10 * time.Minute, false, "deliveries are slower than fetches; look at the destination"},
	Canceled:         {"us", 0, 0, false, "the run was stopped on purpose; it is repeated"},
	Internal:         {"us", time.Minute, time.Hour, true, "a fault of mailferry itself; see the logs"},
}

// Verdict returns what follows from k; an unknown kind is treated as Internal.
func (k Kind) Verdict() Verdict {
	v, ok := verdicts[k]
	if !ok {
		return verdicts[Internal]
	}
	return v
}
