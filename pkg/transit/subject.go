package transit

import (
	"strconv"
	"strings"

	"github.com/mailferry/mailferry/pkg/fault"
)

// laneCount is part of the wire contract: a change would hide messages from consumers of another count.
const laneCount = 16

const (
	mailPrefix    = "ferry.v1.mail."
	deadPrefix    = "ferry.v1.dead."
	receiptPrefix = "ferry.v1.receipt."
	chunkPrefix   = "$O." + bodiesBucket + ".C."
	metaPrefix    = "$O." + bodiesBucket + ".M."
)

// Lane returns the lane of a domain, 0 to 15: FNV-1a of its lower-case name.
func Lane(domain string) int {
	h := uint32(2166136261)
	for i := range len(domain) {
		c := domain[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = (h ^ uint32(c)) * 16777619
	}
	return int(h % laneCount)
}

// maxToken bounds a part of a subject that came from outside of this package.
const maxToken = 128

// token reports whether s can stand as one part of a subject.
func token(s string) bool {
	if s == "" || len(s) > maxToken {
		return false
	}
	for i := range len(s) {
		c := s[i]
		ok := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
		if !ok {
			return false
		}
	}
	return true
}

func checkTokens(op string, named ...string) error {
	for i := 0; i < len(named); i += 2 {
		if !token(named[i+1]) {
			return fault.Errorf(fault.Internal, op, "%s %q cannot stand in a subject", named[i], fault.Clean(named[i+1]))
		}
	}
	return nil
}

// mailPrefixOf returns the subject of a message but for its key; all of its parts are checked.
func mailPrefixOf(m *Message) (string, error) {
	if m == nil {
		return "", fault.Errorf(fault.Internal, "transit", "no message")
	}
	err := checkTokens("transit", "account uid", m.GetAccountUid(), "epoch", m.GetEpoch(), "key", m.GetKey())
	if err != nil {
		return "", err
	}
	return mailPrefix + strconv.Itoa(Lane(m.GetDomain())) + "." + m.GetAccountUid() + "." + m.GetEpoch() + ".", nil
}

// keySep parts the keys of a bundle in its subject; no key has it.
const keySep = "~"

// address is what the subject of a message says.
type address struct {
	lane             int
	uid, epoch, keys string // of a bundle several, parted by keySep
}

func parseMailSubject(s string) (address, bool) {
	rest, ok := strings.CutPrefix(s, mailPrefix)
	if !ok {
		return address{}, false
	}
	parts := strings.Split(rest, ".")
	if len(parts) != 4 {
		return address{}, false
	}
	lane := laneOf(parts[0])
	return address{lane, parts[1], parts[2], parts[3]}, lane >= 0
}

// keysOf returns the message keys that the last token of a subject names.
func keysOf(subject string) []string {
	return strings.Split(subject[strings.LastIndexByte(subject, '.')+1:], keySep)
}

// laneOf returns the number a lane token names, or -1.
func laneOf(s string) int {
	if len(s) == 0 || len(s) > 2 {
		return -1
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return -1
		}
		n = 10*n + int(s[i]-'0')
	}
	if n >= laneCount {
		return -1
	}
	return n
}

func mailOfAccount(uid string) string    { return mailPrefix + "*." + uid + ".>" }
func mailOfKey(uid, key string) string   { return mailPrefix + "*." + uid + ".*." + key }
func deadSubject(uid, key string) string { return deadPrefix + uid + "." + key }
