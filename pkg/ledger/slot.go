package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// Slot names a remote mailbox: protocol, host, port and username. It is the hash tag of all its keys.
type Slot string

// SlotOf returns the slot of a remote mailbox. The case of the host and a dot at its end mean nothing, and
// a protocol's standard ports are one; the username is kept as it is.
func SlotOf(protocol, host string, port int, username string) Slot {
	protocol = strings.ToLower(protocol)
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	switch {
	case protocol == "pop3" && (port == 110 || port == 995), protocol == "imap" && (port == 143 || port == 993):
		port = 0
	}
	sum := sha256.Sum256([]byte(protocol + "\x00" + host + "\x00" + strconv.Itoa(port) + "\x00" + username))
	return Slot(hex.EncodeToString(sum[:12]))
}

// valid says that s may stand in a key name.
func (s Slot) valid() bool { return word(string(s)) }

// word says that s is 1 to 64 letters, digits, points, underscores or hyphens, and so safe in key names, marks and
// subjects.
func word(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

func (s Slot) key(rest string) string { return "mf:{" + string(s) + "}:" + rest }

// accountKeys are the keys a delivery needs, in the order of the scripts.
func (s Slot) accountKeys(account string) []string {
	return []string{
		s.key(account + ":meta"), s.key(account + ":index"), s.key(account + ":tail"),
		s.key(account + ":sets"), s.key(account + ":states"), s.key(account + ":marks"),
	}
}

// workerKeys are the keys a worker needs. alone is set where a lock is the account's and not the mailbox's.
func (s Slot) workerKeys(account string, alone bool) []string {
	return append(s.accountKeys(account), s.lockKey(account, alone),
		s.key(account+":vanished"), s.accountsKey(), s.key("waiters"), s.digestsKey(account))
}

func (s Slot) lockKey(account string, alone bool) string {
	if alone {
		return s.key(account + ":lock")
	}
	return s.key("lock")
}

// digestsKey is the eleventh key of a worker, and the seventh of a commit.
func (s Slot) digestsKey(account string) string { return s.key(account + ":digests") }

// doublesKey is the seventh key of a claim, and the twelfth of an administrator.
func (s Slot) doublesKey(account string) string { return s.key(account + ":doubles") }

func (s Slot) accountsKey() string { return s.key("accounts") }
