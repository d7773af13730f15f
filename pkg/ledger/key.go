package ledger

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"
	"sync"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Key names a message within its account; it is safe in a NATS subject. Its forms are "p<14 hex>" for a
// POP3 unique-id, "c<14 hex>" for a content key, and "i<8 hex of the mailbox>-<UIDVALIDITY>-<UID>" for IMAP.
type Key string

// ParseKey returns s as a key if it is one in its only form.
func ParseKey(s string) (Key, error) {
	raw, ok := decodeKey(s)
	if !ok || string(keyOf(raw)) != s {
		return "", fault.Errorf(fault.Internal, "message key", "not a message key: %q", fault.Clean(s))
	}
	return Key(s), nil
}

// contentBit is set in the first byte of a content key and cleared in a unique-id's.
const contentBit = 0x80

func decodeKey(s string) (string, bool) {
	if s == "" {
		return "", false
	}
	switch s[0] {
	case 'p', 'c':
		b, err := hex.DecodeString(s[1:])
		return string(b), err == nil && len(b) == 7 && (b[0]&contentBit != 0) == (s[0] == 'c')
	case 'i':
		return decodeIMAP(s[1:])
	}
	return "", false
}

func decodeIMAP(s string) (string, bool) {
	if len(s) < 12 || len(s) > 30 || s[8] != '-' {
		return "", false
	}
	var box [4]byte
	_, err := hex.Decode(box[:], []byte(s[:8]))
	v, u, _ := strings.Cut(s[9:], "-")
	validity, err1 := strconv.ParseUint(v, 10, 32)
	uid, err2 := strconv.ParseUint(u, 10, 32)
	if err != nil || err1 != nil || err2 != nil {
		return "", false
	}
	return imapRaw(box, uint32(validity), uint32(uid)), true
}

func imapRaw(box [4]byte, validity, uid uint32) string {
	var b [12]byte
	copy(b[:], box[:])
	binary.BigEndian.PutUint32(b[4:], validity)
	binary.BigEndian.PutUint32(b[8:], uid)
	return string(b[:])
}

// keyOf is the token form of a raw key of 7 or 12 bytes; "" for anything else.
func keyOf(raw string) Key {
	switch len(raw) {
	case 7:
		if raw[0]&contentBit != 0 {
			return Key("c" + hex.EncodeToString([]byte(raw)))
		}
		return Key("p" + hex.EncodeToString([]byte(raw)))
	case 12:
		b := []byte(raw)
		k := append(hex.AppendEncode(append(make([]byte, 0, 31), 'i'), b[:4]), '-')
		k = append(strconv.AppendUint(k, uint64(binary.BigEndian.Uint32(b[4:])), 10), '-')
		return Key(strconv.AppendUint(k, uint64(binary.BigEndian.Uint32(b[8:])), 10))
	}
	return ""
}

// Mailbox names the mailbox of an IMAP key: 8 hex digits. It is "" for any other key.
func (k Key) Mailbox() string {
	if len(k) < 9 || k[0] != 'i' {
		return ""
	}
	return string(k[1:9])
}

// rawBox is Key.Mailbox as the first bytes of a raw key.
func rawBox(mailbox string) string {
	b, err := hex.DecodeString(mailbox)
	if err != nil {
		return ""
	}
	return string(b)
}

// boxOf returns the mailbox of a raw key, "" for one that is not IMAP's.
func boxOf(raw string) string {
	if len(raw) != 12 {
		return ""
	}
	return raw[:4]
}

// raw is the form of the index: 7 or 12 bytes, "" for what is no key.
func (k Key) raw() string {
	raw, ok := decodeKey(string(k))
	if !ok {
		return ""
	}
	return raw
}

// Keyer makes message keys with the installation key, so that nobody can choose unique-ids that collide.
type Keyer struct{ macs sync.Pool }

// NewKeyer returns the keyer of an installation key.
func NewKeyer(secret []byte) *Keyer {
	secret = bytes.Clone(secret)
	return &Keyer{sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }}}
}

// ID identifies the installation key without telling it; it belongs into Config.KeyID.
func (k *Keyer) ID() string { return hex.EncodeToString(k.sum("id", nil)[:8]) }

// UniqueID returns the key of a POP3 unique-id.
func (k *Keyer) UniqueID(uid string) Key {
	b := k.sum("uid", []byte(uid))[:7]
	b[0] &^= contentBit
	return keyOf(string(b))
}

// Content returns the key of a message that has no other, from a digest of its content.
func (k *Keyer) Content(digest []byte) Key {
	b := k.sum("content", digest)[:7]
	b[0] |= contentBit
	return keyOf(string(b))
}

// Identity returns the 8 octets by which a message is known again, from a digest of its header.
func (k *Keyer) Identity(digest []byte) []byte { return k.sum("identity", digest)[:8] }

// IMAP returns the key of an IMAP message.
func (k *Keyer) IMAP(mailbox string, validity, uid uint32) Key { return k.Box(mailbox, validity)(uid) }

// Box returns what makes the keys of the messages of an IMAP mailbox, without a digest for each.
func (k *Keyer) Box(mailbox string, validity uint32) func(uid uint32) Key {
	box := [4]byte(k.sum("mailbox", []byte(mailbox)))
	return func(uid uint32) Key { return keyOf(imapRaw(box, validity, uid)) }
}

func (k *Keyer) sum(use string, data []byte) []byte {
	h, _ := k.macs.Get().(hash.Hash)
	defer k.macs.Put(h)
	h.Reset()
	h.Write([]byte(use))
	h.Write([]byte{0})
	h.Write(data)
	return h.Sum(nil)
}

// FoldSize returns a LIST size as the index keeps it: 16 bits, equal for equal sizes.
func FoldSize(size int64) uint16 {
	u := uint64(size)
	return uint16(u ^ u>>16 ^ u>>32)
}
