package notice

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Type is what a notice tells of.
type Type string

// The types. All but OversizeSkipped last until Recovered.
const (
	Failing         Type = "failing"
	ConsentNeeded   Type = "consent-needed"
	OverQuota       Type = "over-quota"
	Recovered       Type = "recovered"
	OversizeSkipped Type = "oversize-skipped"
)

// Rules say when a failing account is told of. Zero fields take their default.
type Rules struct {
	// OwnerAfter is how many runs in a row have failed in a way that its owner can mend; default 3.
	OwnerAfter int
	// After and For are how many have failed in any other way, or how long they have, whichever comes first; default 6
	// and 2 h.
	After int
	For   time.Duration
	// OversizeEvery is how long nothing more is told of messages that are passed over; default 24 h.
	OversizeEvery time.Duration
}

func (r Rules) withDefaults() Rules {
	r.OwnerAfter, r.After = cmp.Or(r.OwnerAfter, 3), cmp.Or(r.After, 6)
	r.For, r.OversizeEvery = cmp.Or(r.For, 2*time.Hour), cmp.Or(r.OversizeEvery, 24*time.Hour)
	return r
}

// Run is what a run came to, as the due index has counted it.
type Run struct {
	ID      string
	Account string // its uid
	At      time.Time
	Kind    fault.Kind
	// Failures in a row, this one included, and since when; 0 after a run that ended well.
	Failures int
	Since    time.Time
	// Skipped are the messages that it passed over because of their size.
	Skipped int64
}

// Told is what was told last of an account; the zero value says that nothing is wrong with it.
type Told struct {
	// Type that lasts, Grade of it, and since when; "" if none does.
	Type  Type
	Grade int
	At    time.Time
	// Oversize is when it was told last of messages that were passed over.
	Oversize time.Time
}

// Event is something to tell: a type, and an id that is the same whenever the same is decided again.
type Event struct {
	ID   string
	Type Type
	// Since is when the state began, or, with Recovered, when it was told of.
	Since time.Time
}

// The grades of what may be wrong. What lasts is told again only in a higher one, so that an account whose faults
// change by turns is told of at most four times before it recovers.
const (
	gradeOthers  = 1 + iota // somebody else's turn
	gradeQuota              // a mailbox is full
	gradeOwner              // nothing comes until its owner has mended it
	gradeConsent            // and it is said where
)

// Decide returns what is to be told of an account after a run, and what is told of it then. It is pure.
func Decide(told Told, r Run, rules Rules) (Told, []Event) {
	rules = rules.withDefaults()
	var events []Event
	tell := func(t Type, since time.Time, cause string) {
		events = append(events, Event{ID: id(r.Account, string(t), cause), Type: t, Since: since})
	}
	typ, grade := state(r, rules)
	switch {
	case r.Kind == fault.None && told.Type != "":
		tell(Recovered, told.At, strconv.FormatInt(told.At.UnixMilli(), 10))
		told.Type, told.Grade, told.At = "", 0, time.Time{}
	case grade > told.Grade:
		tell(typ, r.Since, fmt.Sprint(grade, " ", cmp.Or(told.At, r.Since).UnixMilli()))
		told.Type, told.Grade, told.At = typ, grade, r.At
	}
	if r.Skipped > 0 && r.At.Sub(told.Oversize) >= rules.OversizeEvery {
		tell(OversizeSkipped, r.At, r.ID)
		told.Oversize = r.At
	}
	return told, events
}

// state returns what a run that failed makes of its account; grade 0 for nothing that is told of yet.
func state(r Run, rules Rules) (typ Type, grade int) {
	v := r.Kind.Verdict()
	switch {
	case r.Kind == fault.None:
		return "", 0
	case r.Kind == fault.ConsentNeeded:
		return ConsentNeeded, gradeConsent
	case r.Kind == fault.RemoteQuota, r.Kind == fault.DestinationQuota:
		return OverQuota, gradeQuota
	case !v.Counts:
		return "", 0
	case v.Side == "owner" && r.Failures >= rules.OwnerAfter:
		return Failing, gradeOwner
	case r.Failures >= rules.After, r.Failures > 1 && r.At.Sub(r.Since) >= rules.For:
		return Failing, gradeOthers
	}
	return "", 0
}

// id makes the id of an event from what caused it.
func id(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return "ntc_" + hex.EncodeToString(sum[:16])
}

// String returns the form that is kept; "" for the zero value.
func (t Told) String() string {
	if t == (Told{}) {
		return ""
	}
	return fmt.Sprintf("%s|%d|%d|%d", t.Type, t.Grade, milli(t.At), milli(t.Oversize))
}

// ParseTold reads what [Told.String] wrote; of what cannot be read nothing was told.
func ParseTold(s string) Told {
	f := strings.Split(s, "|")
	if len(f) != 4 {
		return Told{}
	}
	grade, err1 := strconv.Atoi(f[1])
	at, err2 := strconv.ParseInt(f[2], 10, 64)
	over, err3 := strconv.ParseInt(f[3], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return Told{}
	}
	return Told{Type: Type(f[0]), Grade: grade, At: fromMilli(at), Oversize: fromMilli(over)}
}

func milli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
