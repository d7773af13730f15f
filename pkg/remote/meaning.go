package remote

import (
	"regexp"
	"strconv"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Meaning is what a refusal comes to.
type Meaning struct {
	// Kind is None where neither code nor words say anything.
	Kind fault.Kind
	// Until is the time before which a retry is useless, if the server named one.
	Until time.Time
	// Hint tells the owner what to do, where the words of the server leave that open; empty otherwise.
	Hint string
}

// Understand says what a refusal means, by the kind of its response code (None without one) and by its words.
// A code is believed, but one that blames the owner gives way to words that name another reason: providers
// send [AUTH] for whatever keeps somebody out.
func Understand(code fault.Kind, text string, now time.Time) Meaning {
	if m := backoff.FindStringSubmatch(text); m != nil {
		if ms, err := strconv.ParseInt(m[1], 10, 64); err == nil {
			return Meaning{Kind: fault.Throttled, Until: now.Add(time.Duration(min(ms, maxAway.Milliseconds())) * time.Millisecond)}
		}
	}
	for _, p := range phrases {
		if !p.words.MatchString(text) || p.unless != nil && p.unless.MatchString(text) {
			continue
		}
		if code != fault.None && !(owners(code) && p.outranks()) {
			break
		}
		m := Meaning{Kind: p.kind, Hint: p.hint}
		if p.away > 0 {
			m.Until = now.Add(p.away)
		}
		return m
	}
	return Meaning{Kind: code}
}

// backoff precedes the milliseconds for which Exchange Online wants no more of us; maxAway bounds them.
var backoff = regexp.MustCompile(`(?i)suggested backoff time: ?(\d{1,15})`)

const maxAway = 24 * time.Hour

func owners(k fault.Kind) bool { return k == fault.Auth || k == fault.NotFound }

// phrase is what servers say, and what they mean by it.
type phrase struct {
	kind   fault.Kind
	words  *regexp.Regexp
	unless *regexp.Regexp
	away   time.Duration // named by the words
	hint   string
}

// outranks says whether the words tell more than a code that blames the owner.
func (p phrase) outranks() bool {
	return p.kind == fault.AuthWithdrawn || p.kind == fault.Throttled || p.kind == fault.RemoteQuota
}

const (
	hintApp = "make an application password with the provider and use it here, or sign in with OAuth2"
	hintWeb = "sign in to the provider's web mail once and confirm this access; use OAuth2 or an application password"
	hintOn  = "switch POP3 and IMAP access on in the provider's settings"
)

// phrases are the words of servers and large providers, as seen; the first that fits counts. A text that
// speaks of the account, not of the maildrop, is no lock.
var phrases = []phrase{
	// Gmail, Yahoo, mail.ru, QQ and 163 ("authorized code").
	{kind: fault.AuthWithdrawn, hint: hintApp, words: words(`app(lication)?[- ](specific )?password`, `authori[sz](ed|ation) code`)},
	// Exchange Online and Outlook.com.
	{kind: fault.AuthWithdrawn, hint: "sign in with OAuth2 (XOAUTH2)", words: words(`basicauth(entication)?blocked`,
		`basic auth(entication)? (is|has been) (disabled|blocked|turned off)`)},
	// Gmail.
	{kind: fault.AuthWithdrawn, hint: hintWeb, words: words(`web login required`, `log ?in via (your|the) web browser`,
		`less secure app`)},
	{kind: fault.AuthWithdrawn, hint: hintOn, words: words(`not enabled for (pop|imap)`, `(pop3?|imap4?)( access)? (is |has been )?(disabled|not (enabled|allowed|permitted))`,
		`(enable|turn on|activate) (pop|imap)`)},
	// Hotmail.
	{kind: fault.Throttled, away: 15 * time.Minute, words: words(`login limit for a 15 minute period`)},
	// Gmail ("Account exceeded command or bandwidth limits").
	{kind: fault.RemoteQuota, words: words(`bandwidth limit`, `download (limit|quota)`)},
	// Dovecot, Exchange Online, Gmail, GMX and web.de, OVH, QQ ("login frequency limited"), Yahoo (#AUTH005).
	{kind: fault.Throttled, words: words(`login (limit|rate|interval|frequency)`, `rate[- ]?limit`, `throttl`, `too (frequent|often)`,
		`too many (\w+ ){0,2}(logins?|connections?|sessions?|attempts?|requests?|users)`, `too many (simultaneous|concurrent|failed|recent)`,
		`max(imum)? (number of )?connections`, `minimum (interval|time) between`, `user is authenticated but not connected`)},
	// Qpopper ("lock busy"), UW, Cyrus, Courier, VPOP3, Bell and others ("wait a few minutes").
	{kind: fault.InUse, unless: regexp.MustCompile(`(?i)account|message`), words: words(`\b(pop)?lock(ed|s)?\b`, `(unable|cannot|failed) to lock`, `in use\b`,
		`already (open|logged|in use|locked)`, `another (session|process|connection|pop|user|client)`, `being accessed`,
		`(mailbox|maildrop|mail drop|session) (is )?(busy|active)`, `wait a few minutes`)},
	{kind: fault.Unavailable, words: words(`temporar`, `try (again )?later`, `internal (server )?error`, `server error`, `unavailable`,
		`not available`, `out of (order|service)`, `maintenance`, `(system|server|service|too) busy`)},
	{kind: fault.NotFound, unless: regexp.MustCompile(`(?i)password`), words: words(`(no such|unknown) (user|mailbox|account|domain)`, `(user|mailbox|account) (is )?(unknown|not found)`,
		`(user|mailbox|account) does(n't| not) exist`)},
}

// words returns the alternatives, upper case or lower.
func words(alternatives ...string) *regexp.Regexp {
	all := ""
	for _, a := range alternatives {
		all += "|" + a
	}
	return regexp.MustCompile("(?i)" + all[1:])
}
