package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/oauth2"

	"github.com/mailferry/mailferry/pkg/fault"
)

// ConsentTime is how long an owner has to follow a link.
const ConsentTime = 15 * time.Minute

// Owner says for whom consent is asked.
type Owner struct {
	UID      string `json:"uid"`
	Domain   string `json:"domain"`
	Name     string `json:"name"`
	Provider string `json:"provider"`
	Username string `json:"username"`
}

// asked waits in Redis, sealed, for the browser to come back.
type asked struct {
	Owner    Owner  `json:"owner"`
	Verifier string `json:"verifier"`
}

// stateKey does not show the state to who can list keys.
func stateKey(state string) string {
	sum := sha256.Sum256([]byte(state))
	return "ferry:oauth:state:" + hex.EncodeToString(sum[:])
}

// Start returns a link at which the owner gives consent. Its state is random, good once and for 15 minutes,
// and bound to the account.
func (b *Broker) Start(ctx context.Context, o Owner) (link string, err error) {
	p, err := b.provider(ctx, o.Provider)
	if err != nil {
		return "", err
	}
	state, verifier := rand.Text()+rand.Text(), oauth2.GenerateVerifier()
	plain, err := json.Marshal(asked{o, verifier})
	if err != nil {
		return "", fault.New(fault.Internal, "oauth2", err)
	}
	sealed, err := b.vault.Seal(string(plain), stateKey(state))
	if err == nil {
		err = fault.Wrap(fault.Internal, "oauth2", b.rdb.Set(ctx, stateKey(state), sealed, ConsentTime).Err())
	}
	if err != nil {
		return "", err
	}
	return b.config(p).AuthCodeURL(state, oauth2.AccessTypeOffline, oauth2.S256ChallengeOption(verifier),
		oauth2.SetAuthURLParam("prompt", "consent"), oauth2.SetAuthURLParam("login_hint", o.Username)), nil
}

// Finish exchanges the code with which the browser came back, and keeps the consent. Without a code, the
// owner has refused.
func (b *Broker) Finish(ctx context.Context, state, code string) (Owner, error) {
	sealed, err := b.rdb.GetDel(ctx, stateKey(state)).Bytes()
	if errors.Is(err, redis.Nil) {
		return Owner{}, fault.Errorf(fault.Policy, "oauth2", "this link was used before, or is older than %s; ask for a new one", fault.Span(ConsentTime))
	}
	if err != nil {
		return Owner{}, fault.Wrap(fault.Internal, "oauth2", err)
	}
	plain, err := b.vault.Unseal(sealed, stateKey(state))
	var a asked
	if err == nil {
		err = fault.New(fault.Internal, "oauth2", json.Unmarshal([]byte(plain), &a))
	}
	if err != nil {
		return Owner{}, err
	}
	if code == "" {
		return a.Owner, fault.Errorf(fault.ConsentNeeded, "oauth2", "the owner did not give consent")
	}
	p, err := b.provider(ctx, a.Owner.Provider)
	if err != nil {
		return a.Owner, err
	}
	t, err := b.config(p).Exchange(context.WithValue(ctx, oauth2.HTTPClient, b.client), code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return a.Owner, unreachable(p.Name, err)
	}
	return a.Owner, b.keep(ctx, a.Owner, t)
}

// Device is what an owner is told to type in on another device (RFC 8628 §3.2).
type Device struct {
	URL, Code string
	Expires   time.Time
	answer    *oauth2.DeviceAuthResponse
	owner     Owner
}

// StartDevice asks for a code.
func (b *Broker) StartDevice(ctx context.Context, o Owner) (Device, error) {
	p, err := b.provider(ctx, o.Provider)
	if err != nil {
		return Device{}, err
	}
	if p.DeviceURL == "" {
		return Device{}, fault.Errorf(fault.Policy, "oauth2", "provider %s has no codes for devices", p.Name)
	}
	r, err := b.config(p).DeviceAuth(context.WithValue(ctx, oauth2.HTTPClient, b.client))
	if err != nil {
		return Device{}, unreachable(p.Name, err)
	}
	return Device{URL: r.VerificationURI, Code: r.UserCode, Expires: r.Expiry, answer: r, owner: o}, nil
}

// AwaitDevice waits until the owner has typed in the code, and keeps the consent.
func (b *Broker) AwaitDevice(ctx context.Context, d Device) error {
	p, err := b.provider(ctx, d.owner.Provider)
	if err != nil {
		return err
	}
	t, err := b.config(p).DeviceAccessToken(context.WithValue(ctx, oauth2.HTTPClient, b.client), d.answer)
	if err != nil {
		return unreachable(p.Name, err)
	}
	return b.keep(ctx, d.owner, t)
}

// keep replaces the consent of the account, under the refresh lock's compare-and-set.
func (b *Broker) keep(ctx context.Context, o Owner, t *oauth2.Token) error {
	if t.RefreshToken == "" {
		return fault.Errorf(fault.Policy, "oauth2", "provider %s gave no refresh token; its client has to be allowed offline access", o.Provider)
	}
	_, revision, err := b.store.Credential(ctx, o.UID)
	if err == nil {
		_, err = b.write(ctx, o.UID, consent{Provider: o.Provider, RefreshToken: t.RefreshToken, Since: time.Now()}, revision)
	}
	if err != nil {
		return err
	}
	return b.cache(ctx, o.UID, t)
}

// Given returns since when there is a consent that the provider honours as far as is known, or the zero time.
func (b *Broker) Given(ctx context.Context, uid string) (time.Time, error) {
	c, _, err := b.read(ctx, uid)
	if err != nil || c.RefreshToken == "" {
		return time.Time{}, err
	}
	return c.Since, nil
}
