// Package account holds a remote account as its owner filled it in: its fields, their defaults and
// what makes them valid. It stores nothing and dials nothing.
package account

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/schedule"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Protocol is the protocol of the remote server.
type Protocol string

// The protocols.
const (
	POP3 Protocol = "pop3"
	IMAP Protocol = "imap"
)

// TLSMode says how a remote session is secured.
type TLSMode string

// The TLS modes: ask and upgrade when offered; TLS from the first byte; never.
const (
	Detect  TLSMode = "detect"
	Direct  TLSMode = "direct"
	Disable TLSMode = "disable"
)

// After says what happens to a message at the remote server once its destination accepted it.
type After string

// The policies after collection.
const (
	Leave  After = "leave"
	Delete After = "delete"
	Move   After = "move" // IMAP: into MoveTo
)

// Removes says whether collected messages leave the remote mailbox.
func (a After) Removes() bool { return a == Delete || a == Move }

// StartNow is the Account.StartDays of an account that collects only what comes from its start on.
const StartNow = -1

// OnIndexLoss says what to do when the UID index of an account that had collected is gone.
type OnIndexLoss string

// The policies on a lost index: collect again, or pass over what is listed now.
const (
	Recollect OnIndexLoss = "recollect"
	Baseline  OnIndexLoss = "baseline"
)

// Oversize says what becomes of a message above Account.MaxMessageSize.
type Oversize string

// The policies on messages that are too large: pass over; pass over, and tell the owner in a small message.
const (
	Skip   Oversize = "skip"
	Notice Oversize = "notice"
)

// ClientAddress says how the destination learns which host gave a message to the remote server.
type ClientAddress string

// The ways: not at all; by the command XCLIENT; in a header field; by both. "" leaves it to the domain, and there is off.
const (
	ClientOff     ClientAddress = "off"
	ClientXCLIENT ClientAddress = "xclient"
	ClientHeader  ClientAddress = "header"
	ClientAuto    ClientAddress = "auto"
)

// Date says which date a POP3 message has in a mailbox that it is filed into.
type Date string

// The dates: when the message was collected; when a declared host received it, as its Received field says. "" is
// collected.
const (
	DateCollected Date = "collected"
	DateReceived  Date = "received"
)

// Auth says how a session signs in.
type Auth string

// The ways to sign in: the strongest that the server offers; the protocol's own command (USER and PASS,
// LOGIN); SASL mechanisms by name, none of which gives way to another; a token of an OAuth 2.0 provider.
const (
	AuthAuto            Auth = "auto"
	AuthUserPass        Auth = "user-pass"
	AuthPlain           Auth = "plain"
	AuthLogin           Auth = "login"
	AuthCramMD5         Auth = "cram-md5"
	AuthScramSHA1       Auth = "scram-sha-1"
	AuthScramSHA256     Auth = "scram-sha-256"
	AuthScramSHA1Plus   Auth = "scram-sha-1-plus"
	AuthScramSHA256Plus Auth = "scram-sha-256-plus"
	OAuth2              Auth = "oauth2"
)

// Account is a remote account.
type Account struct {
	UID               string // immutable, made at creation
	Domain, Name      string
	Active            bool
	Protocol          Protocol
	Host              string // "host" or "host:port", "[v6]:port"
	Username          string
	SealedPassword    []byte
	CredentialVersion uint64
	TLS               TLSMode
	APOP              bool
	LenientDot        bool
	Auth              Auth
	OAuthProvider     string        // with OAuth2
	ForwardTo         string        // an address or a mailbox path, as ParseTarget takes it
	SkipFilters       bool          // asks the destination to run no filters of the recipient
	SkipAntispam      bool          // and no anti-spam
	ClientAddress     ClientAddress // "": that of the domain
	DedupeWindow      time.Duration // 0: doubles are handed over like any message
	Date              Date          // of messages in mailboxes (POP3); "": DateCollected
	CopyTo            []string      // more of them, each of which gets an extra copy
	Interval          time.Duration // 0: the schedule
	Schedule          schedule.Text // without entries: that of the domain, or the global one
	Push              bool          // IMAP: new messages are waited for
	After             After
	OnIndexLoss       OnIndexLoss
	// TLSPins are keys that the server's certificate may have: SHA-256 of its SubjectPublicKeyInfo in hex. One
	// of them is enough, in place of authority, name and dates (as DANE-EE, RFC 7671 §5.1).
	TLSPins []string
	// TLSCA holds the authorities in PEM that alone are trusted; "" for the installation's.
	TLSCA string
	// TLSAllowInvalid takes any certificate, where the domain permits it.
	TLSAllowInvalid bool
	// AfterDays, AfterKeepNewest and AfterLargerThan choose what After removes; all of it with none of them. The
	// newest stay in any case; of the others those go that are older or larger.
	AfterDays, AfterKeepNewest int
	AfterLargerThan            int64  // octets
	MarkSeen                   bool   // IMAP: collected messages are marked \Seen
	MoveTo                     string // IMAP: the mailbox of Move
	// StartDays is what the account collects when it starts: 0 everything, StartNow, or the last days (IMAP).
	StartDays   int
	NewestFirst bool // a backlog is fetched newest first
	// MaxMessageSize in octets passes larger messages over; MaxMessages and MaxBytes bound one run, the
	// last two a day (UTC). 0: no limit.
	MaxMessageSize    int64
	Oversize          Oversize
	MaxMessages       int
	MaxBytes          int64
	MaxMessagesPerDay int
	MaxBytesPerDay    int64
	// Mailboxes are those that are collected, ExcludeMailboxes those that are not all the same (IMAP): names,
	// patterns with * and %, or AllMailboxes. Empty: INBOX.
	Mailboxes, ExcludeMailboxes []string
	// Recipients says who gets the messages, Rules where they go instead.
	Recipients Recipients
	Rules      []Rule
	// Labels are what accounts are listed and triggered together by: sorted, each once.
	Labels []string
	// Notify mails a notice to the owner when the account's state changes: to NotifyTo, "" for the address of ForwardTo.
	Notify    bool
	NotifyTo  string
	CreatedAt time.Time
	UpdatedAt time.Time
	Revision  uint64 // of the record in the directory, not part of it
}

// PerDay says whether there is a limit of a day.
func (a Account) PerDay() bool { return a.MaxMessagesPerDay > 0 || a.MaxBytesPerDay > 0 }

// Ref returns "domain/name", the way people name an account.
func (a Account) Ref() string { return a.Domain + "/" + a.Name }

// SealContext returns the associated data its password is sealed with: a sealed password moved to
// another account does not open.
func (a Account) SealContext() string { return "account:" + a.UID }

// TestContext is the associated data of the password of an account that is tested and not saved: it opens for this
// server, under these rules, and for whoever looks at the time until then.
func (a Account) TestContext(until time.Time) string {
	return fmt.Sprintf("test:%s:%d:%q", a.UID, until.Unix(), append([]string{string(a.Protocol), a.Host, a.Username, string(a.TLS),
		string(a.Auth), strconv.FormatBool(a.APOP), strconv.FormatBool(a.TLSAllowInvalid), a.TLSCA}, a.TLSPins...))
}

// HostPort splits Host and fills in the protocol's standard port for the TLS mode
// (RFC 1939 §3, RFC 9051 §2.1, RFC 8314 §7).
func (a Account) HostPort() (host string, port int, err error) {
	host, port, err = splitHost(a.Host)
	if err != nil || port != 0 {
		return host, port, err
	}
	switch {
	case a.Protocol == POP3 && a.TLS == Direct:
		port = 995
	case a.Protocol == POP3:
		port = 110
	case a.TLS == Direct:
		port = 993
	default:
		port = 143
	}
	return host, port, nil
}

func splitHost(s string) (string, int, error) {
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		if strings.Count(s, ":") == 1 || strings.ContainsAny(s, "[]") {
			return "", 0, invalid("host", "want host, host:port or [v6]:port")
		}
		return s, 0, nil
	}
	port, err := strconv.Atoi(p)
	if err != nil || port < 1 || port > 65535 {
		return "", 0, invalid("host", "port must be a number from 1 to 65535")
	}
	return host, port, nil
}

// WithDefaults returns a with its empty fields filled in.
func (a Account) WithDefaults() Account {
	a.Domain, a.Name = strings.ToLower(strings.TrimSpace(a.Domain)), strings.TrimSpace(a.Name)
	a.Host = strings.TrimSpace(a.Host)
	if a.TLS == "" {
		a.TLS = Detect
	}
	if a.Auth == "" {
		a.Auth = AuthAuto
	}
	if a.After == "" {
		a.After = Leave
	}
	if a.OnIndexLoss == "" {
		a.OnIndexLoss = Recollect
	}
	a.TLSPins = normalPins(a.TLSPins)
	a.Labels = normalLabels(a.Labels)
	a.Recipients = a.Recipients.withDefaults()
	a.Mailboxes, a.ExcludeMailboxes = normalMailboxes(a.Mailboxes), normalMailboxes(a.ExcludeMailboxes)
	return a
}

var (
	protocols = map[Protocol]mailferryv1.Protocol{
		POP3: mailferryv1.Protocol_PROTOCOL_POP3, IMAP: mailferryv1.Protocol_PROTOCOL_IMAP,
	}
	tlsModes = map[TLSMode]mailferryv1.TlsMode{
		Detect: mailferryv1.TlsMode_TLS_MODE_DETECT, Direct: mailferryv1.TlsMode_TLS_MODE_DIRECT,
		Disable: mailferryv1.TlsMode_TLS_MODE_DISABLE,
	}
	auths = map[Auth]mailferryv1.AuthMethod{
		AuthAuto: mailferryv1.AuthMethod_AUTH_METHOD_AUTO, AuthUserPass: mailferryv1.AuthMethod_AUTH_METHOD_USER_PASS,
		AuthPlain: mailferryv1.AuthMethod_AUTH_METHOD_PLAIN, AuthLogin: mailferryv1.AuthMethod_AUTH_METHOD_LOGIN,
		AuthCramMD5:         mailferryv1.AuthMethod_AUTH_METHOD_CRAM_MD5,
		AuthScramSHA1:       mailferryv1.AuthMethod_AUTH_METHOD_SCRAM_SHA_1,
		AuthScramSHA256:     mailferryv1.AuthMethod_AUTH_METHOD_SCRAM_SHA_256,
		AuthScramSHA1Plus:   mailferryv1.AuthMethod_AUTH_METHOD_SCRAM_SHA_1_PLUS,
		AuthScramSHA256Plus: mailferryv1.AuthMethod_AUTH_METHOD_SCRAM_SHA_256_PLUS,
		OAuth2:              mailferryv1.AuthMethod_AUTH_METHOD_OAUTH2,
	}
	afters = map[After]mailferryv1.AfterCollection{
		Leave:  mailferryv1.AfterCollection_AFTER_COLLECTION_LEAVE,
		Delete: mailferryv1.AfterCollection_AFTER_COLLECTION_DELETE,
		Move:   mailferryv1.AfterCollection_AFTER_COLLECTION_MOVE,
	}
	clientAddresses = map[ClientAddress]mailferryv1.ClientAddress{
		ClientOff:     mailferryv1.ClientAddress_CLIENT_ADDRESS_OFF,
		ClientXCLIENT: mailferryv1.ClientAddress_CLIENT_ADDRESS_XCLIENT,
		ClientHeader:  mailferryv1.ClientAddress_CLIENT_ADDRESS_HEADER,
		ClientAuto:    mailferryv1.ClientAddress_CLIENT_ADDRESS_AUTO,
	}
	dates = map[Date]mailferryv1.MessageDate{
		DateCollected: mailferryv1.MessageDate_MESSAGE_DATE_COLLECTED, DateReceived: mailferryv1.MessageDate_MESSAGE_DATE_RECEIVED,
	}
	oversizes = map[Oversize]mailferryv1.Oversize{
		Skip: mailferryv1.Oversize_OVERSIZE_SKIP, Notice: mailferryv1.Oversize_OVERSIZE_NOTICE,
	}
	losses = map[OnIndexLoss]mailferryv1.OnIndexLoss{
		Recollect: mailferryv1.OnIndexLoss_ON_INDEX_LOSS_RECOLLECT,
		Baseline:  mailferryv1.OnIndexLoss_ON_INDEX_LOSS_BASELINE,
	}
)

func wordOf[W ~string, E comparable](m map[W]E, e E) W {
	for w, v := range m {
		if v == e {
			return w
		}
	}
	return ""
}

// Proto returns the wire form of a.
func (a Account) Proto() *mailferryv1.Account {
	p := &mailferryv1.Account{
		Uid: a.UID, Domain: a.Domain, Name: a.Name, Active: a.Active, Protocol: protocols[a.Protocol],
		Host: a.Host, Username: a.Username, SealedPassword: a.SealedPassword,
		CredentialVersion: a.CredentialVersion, Tls: tlsModes[a.TLS], Apop: a.APOP, Auth: auths[a.Auth], OauthProvider: a.OAuthProvider, ForwardTo: a.ForwardTo, CopyTo: a.CopyTo,
		After: afters[a.After], OnIndexLoss: losses[a.OnIndexLoss], Revision: a.Revision,
		LenientDot: a.LenientDot,
		TlsPins:    a.TLSPins, TlsCa: a.TLSCA, TlsAllowInvalid: a.TLSAllowInvalid,
		AfterDays: int32(a.AfterDays), AfterKeepNewest: int32(a.AfterKeepNewest), AfterLargerThan: a.AfterLargerThan,
		SkipFilters: a.SkipFilters, SkipAntispam: a.SkipAntispam, ClientAddress: a.ClientAddress.Proto(), Date: dates[a.Date],
		MarkSeen: a.MarkSeen, MoveTo: a.MoveTo, StartDays: int32(a.StartDays), NewestFirst: a.NewestFirst,
		MaxMessageSize: a.MaxMessageSize, MaxMessages: int32(a.MaxMessages), MaxBytes: a.MaxBytes,
		MaxMessagesPerDay: int32(a.MaxMessagesPerDay), MaxBytesPerDay: a.MaxBytesPerDay, Oversize: oversizes[a.Oversize],
		Mailboxes: a.Mailboxes, ExcludeMailboxes: a.ExcludeMailboxes,
		Push: a.Push, Recipients: a.Recipients.proto(), Rules: RulesProto(a.Rules),
		Notify: a.Notify, NotifyTo: a.NotifyTo,
		Schedule: ScheduleProto(a.Schedule), Labels: a.Labels,
	}
	if a.Interval > 0 {
		p.Interval = durationpb.New(a.Interval)
	}
	if a.DedupeWindow > 0 {
		p.DedupeWindow = durationpb.New(a.DedupeWindow)
	}
	if !a.CreatedAt.IsZero() {
		p.CreatedAt = timestamppb.New(a.CreatedAt)
	}
	if !a.UpdatedAt.IsZero() {
		p.UpdatedAt = timestamppb.New(a.UpdatedAt)
	}
	return p
}

// FromProto returns the account of its wire form; unknown enum values become "", which Validate refuses.
func FromProto(p *mailferryv1.Account) Account {
	a := Account{
		UID: p.GetUid(), Domain: p.GetDomain(), Name: p.GetName(), Active: p.GetActive(),
		Protocol: wordOf(protocols, p.GetProtocol()), Host: p.GetHost(), Username: p.GetUsername(),
		SealedPassword: p.GetSealedPassword(), CredentialVersion: p.GetCredentialVersion(),
		TLS: wordOf(tlsModes, p.GetTls()), APOP: p.GetApop(), Auth: wordOf(auths, p.GetAuth()), OAuthProvider: p.GetOauthProvider(), ForwardTo: p.GetForwardTo(), CopyTo: p.GetCopyTo(),
		Interval: p.GetInterval().AsDuration(), After: wordOf(afters, p.GetAfter()),
		OnIndexLoss: wordOf(losses, p.GetOnIndexLoss()), Revision: p.GetRevision(),
		LenientDot: p.GetLenientDot(),
		TLSPins:    p.GetTlsPins(), TLSCA: p.GetTlsCa(), TLSAllowInvalid: p.GetTlsAllowInvalid(),
		AfterDays: int(p.GetAfterDays()), AfterKeepNewest: int(p.GetAfterKeepNewest()), AfterLargerThan: p.GetAfterLargerThan(),
		SkipFilters: p.GetSkipFilters(), SkipAntispam: p.GetSkipAntispam(), ClientAddress: ClientAddressFromProto(p.GetClientAddress()), DedupeWindow: p.GetDedupeWindow().AsDuration(), Date: wordOf(dates, p.GetDate()),
		MarkSeen: p.GetMarkSeen(), MoveTo: p.GetMoveTo(), StartDays: int(p.GetStartDays()), NewestFirst: p.GetNewestFirst(),
		MaxMessageSize: p.GetMaxMessageSize(), MaxMessages: int(p.GetMaxMessages()), MaxBytes: p.GetMaxBytes(),
		MaxMessagesPerDay: int(p.GetMaxMessagesPerDay()), MaxBytesPerDay: p.GetMaxBytesPerDay(), Oversize: wordOf(oversizes, p.GetOversize()),
		Mailboxes: p.GetMailboxes(), ExcludeMailboxes: p.GetExcludeMailboxes(),
		Push: p.GetPush(), Recipients: recipientsFromProto(p.GetRecipients()), Rules: RulesFromProto(p.GetRules()),
		Notify: p.GetNotify(), NotifyTo: p.GetNotifyTo(),
		Schedule: ScheduleFromProto(p.GetSchedule()), Labels: p.GetLabels(),
	}
	if t := p.GetCreatedAt(); t != nil {
		a.CreatedAt = t.AsTime()
	}
	if t := p.GetUpdatedAt(); t != nil {
		a.UpdatedAt = t.AsTime()
	}
	return a
}
