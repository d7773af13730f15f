package control

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
)

// minToken is the least length of a token in bytes.
const minToken = 16

// bodyTime bounds how long a request may take to arrive.
const bodyTime = 30 * time.Second

// gate lets requests with a known bearer token through (RFC 6750 §2.1). Tokens are compared as digests in
// constant time, each with all, so that the time of an answer tells nothing.
type gate struct {
	next    http.Handler
	digests [][sha256.Size]byte
	refuse  *connect.ErrorWriter
}

func newGate(next http.Handler, tokens []string, opts ...connect.HandlerOption) (*gate, error) {
	if len(tokens) == 0 {
		return nil, errors.New("control: no token")
	}
	g := &gate{next: next, refuse: connect.NewErrorWriter(opts...)}
	for _, t := range tokens {
		if len(t) < minToken {
			return nil, errors.New("control: a token is shorter than 16 bytes")
		}
		g.digests = append(g.digests, sha256.Sum256([]byte(t)))
	}
	return g, nil
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.admits(r.Header.Get("Authorization")) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="mailferry"`)
		if !g.refuse.IsSupported(r) {
			http.Error(w, "unauthenticated: send the header 'Authorization: Bearer TOKEN'", http.StatusUnauthorized)
			return
		}
		_ = g.refuse.Write(w, r, errUnauthenticated())
		return
	}
	// A request has to arrive in time; an answer may stream for hours.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTime))
	arrived := func() { _ = rc.SetReadDeadline(time.Time{}) }
	r = r.WithContext(context.WithValue(r.Context(), arrivedKey{}, arrived))
	r.Body = &body{r.Body, arrived}
	g.next.ServeHTTP(w, r)
}

func (g *gate) admits(header string) bool {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	got, ok := sha256.Sum256([]byte(strings.TrimSpace(token))), 0
	for i := range g.digests {
		ok |= subtle.ConstantTimeCompare(got[:], g.digests[i][:])
	}
	return ok == 1
}

type arrivedKey struct{}

// body lifts the deadline once the request was read to its end.
type body struct {
	io.ReadCloser
	arrived func()
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.arrived()
	}
	return n, err
}
