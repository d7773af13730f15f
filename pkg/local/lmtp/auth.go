package lmtp

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
)

// What stands in the way of signing in.
var (
	errPlaintext = errors.New("the password of the destination is not sent without TLS; want smtp+tls: or smtps: in its place")
	errNoAuth    = errors.New("the destination does not let sign in by PLAIN or LOGIN (AUTH)")
)

// signIn signs in by PLAIN (RFC 4616) or LOGIN, where there is a user name. The password leaves in TLS only, or over a
// connection that stays on this machine.
func (cn *conn) signIn(ctx context.Context, cfg Config) error {
	const step = "auth"
	switch {
	case cfg.Username == "":
		return nil
	case !cn.private():
		return cn.failure(ctx, step, errPlaintext)
	case slices.Contains(cn.ext.auth, "PLAIN"):
		return cn.login(ctx, "PLAIN", "\x00"+cfg.Username+"\x00"+cfg.Password)
	case slices.Contains(cn.ext.auth, "LOGIN"):
		return cn.login(ctx, "LOGIN", cfg.Username, cfg.Password)
	}
	return cn.failure(ctx, step, errNoAuth)
}

// login says AUTH, and one response to each challenge (RFC 4954 §4). A server's text is no part of an error here: it
// may repeat what it was sent.
func (cn *conn) login(ctx context.Context, mechanism string, responses ...string) error {
	r, err := cn.ask(ctx, "auth", nil, "AUTH ", mechanism)
	for _, s := range responses {
		if err != nil || r.code != 334 {
			break
		}
		r, err = cn.ask(ctx, "auth", nil, base64.StdEncoding.EncodeToString([]byte(s)))
	}
	if err == nil && r.code != 235 {
		err = cn.failure(ctx, "auth", &authError{r.code})
	}
	return err
}

// authError is a refusal to let sign in.
type authError struct{ code int }

func (e *authError) Error() string {
	return "the destination answered " + strconv.Itoa(e.code) + " to its user name and password; check them"
}
