package sasl

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"

	gosasl "github.com/emersion/go-sasl"
)

// login is LOGIN, which no RFC defines: the server asks for the user name, then for the password, in words
// of its own.
type login struct {
	username, password string
	asked              int
}

func (l *login) Start() (string, []byte, error) { return string(Login), nil, nil }

func (l *login) Next([]byte) ([]byte, error) {
	l.asked++
	switch l.asked {
	case 1:
		return []byte(l.username), nil
	case 2:
		return []byte(l.password), nil
	}
	return nil, gosasl.ErrUnexpectedServerChallenge
}

// cramMD5 is CRAM-MD5 (RFC 2195 §2).
type cramMD5 struct {
	username, password string
	done               bool
}

func (c *cramMD5) Start() (string, []byte, error) { return string(CramMD5), nil, nil }

func (c *cramMD5) Next(challenge []byte) ([]byte, error) {
	if c.done || len(challenge) == 0 {
		return nil, gosasl.ErrUnexpectedServerChallenge
	}
	c.done = true
	mac := hmac.New(md5.New, []byte(c.password))
	mac.Write(challenge)
	return []byte(c.username + " " + hex.EncodeToString(mac.Sum(nil))), nil
}
