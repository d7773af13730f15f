// Package oauth holds the OAuth 2.0 consents of account owners and hands out access tokens.
//
// A consent is given in a browser (authorization code with PKCE, RFC 6749 §4.1, RFC 7636) or with a code on
// another device (RFC 8628). The refresh token is sealed into the directory's bucket CREDENTIALS under
// compare-and-set, apart from the account. An access token is sealed into Redis, where all workers find it;
// it is refreshed by one of them at a time:
//
//  1. a cached token that is still good is used;
//  2. else the account's lock is taken in Redis; who does not get it waits for the token of who did;
//  3. under the lock the cache is looked at again, then the consent read from the directory's leader;
//  4. the provider is asked; a new refresh token is kept before the access token is used (rotation);
//  5. the access token is cached, the lock released.
//
// invalid_grant ends the consent: every further call is consent-needed, without another request, until the
// owner gives a new one. No token and no body of an answer is in an error.
package oauth

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/oauth2"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Store is the directory's bucket of credentials.
type Store interface {
	Credential(ctx context.Context, uid string) (sealed []byte, revision uint64, err error)
	PutCredential(ctx context.Context, uid string, sealed []byte, revision uint64) (uint64, error)
	EraseCredential(ctx context.Context, uid string) error
}

// Vault seals what is kept.
type Vault interface {
	Seal(plain, context string) ([]byte, error)
	Unseal(sealed []byte, context string) (string, error)
}

// Config of a broker.
type Config struct {
	Providers map[string]Provider
	// RedirectURL is where providers send browsers back to.
	RedirectURL string
	// DialContext reaches providers; the egress guard is part of it.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// RequestLimit bounds a request to a provider; default 15 s. A refresh's lock outlives it twice.
	RequestLimit time.Duration
}

// Broker hands out access tokens.
type Broker struct {
	store  Store
	vault  Vault
	rdb    redis.UniversalClient
	cfg    Config
	client *http.Client

	mu         sync.Mutex
	discovered map[string]Provider
}

// New returns a broker.
func New(store Store, vault Vault, rdb redis.UniversalClient, cfg Config) *Broker {
	if cfg.RequestLimit == 0 {
		cfg.RequestLimit = 15 * time.Second
	}
	return &Broker{
		store: store, vault: vault, rdb: rdb, cfg: cfg, discovered: map[string]Provider{},
		client: &http.Client{
			Timeout: cfg.RequestLimit, Transport: &http.Transport{DialContext: cfg.DialContext, TLSHandshakeTimeout: cfg.RequestLimit, MaxIdleConns: 16, IdleConnTimeout: time.Minute},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a token goes nowhere else
		},
	}
}

// consent is a record of CREDENTIALS.
type consent struct {
	Provider     string    `json:"provider"`
	RefreshToken string    `json:"refresh_token"` // "" once the provider has refused it
	Since        time.Time `json:"since"`
}

const (
	// early is how long before its end a token is not used any more.
	early = time.Minute
	// waiting is how often who did not get the lock looks again.
	waiting = 50 * time.Millisecond
)

func tokenKey(uid string) string { return "ferry:oauth:{" + uid + "}:token" }
func lockKey(uid string) string  { return "ferry:oauth:{" + uid + "}:lock" }

// sealContext binds what is sealed to an account.
func sealContext(uid string) string { return "oauth:" + uid }

// Token returns an access token of the account with the uid.
func (b *Broker) Token(ctx context.Context, uid string) (string, error) {
	for {
		if t, ok := b.cached(ctx, uid); ok {
			return t, nil
		}
		owner := rand.Text()
		got, err := b.rdb.SetNX(ctx, lockKey(uid), owner, 2*b.cfg.RequestLimit).Result()
		if err != nil {
			return "", fault.Wrap(fault.Internal, "oauth2 lock", err)
		}
		if got {
			defer b.unlock(ctx, uid, owner)
			if t, ok := b.cached(ctx, uid); ok {
				return t, nil
			}
			return b.refresh(ctx, uid)
		}
		select {
		case <-time.After(waiting):
		case <-ctx.Done():
			return "", fault.Wrap(fault.Canceled, "oauth2", context.Cause(ctx))
		}
	}
}

// Forget drops the cached access token, which a server has refused: the next one is a new one.
func (b *Broker) Forget(ctx context.Context, uid string) error {
	return fault.Wrap(fault.Internal, "oauth2", b.rdb.Del(ctx, tokenKey(uid)).Err())
}

// Erase forgets everything of an account.
func (b *Broker) Erase(ctx context.Context, uid string) error {
	err := b.store.EraseCredential(ctx, uid)
	return errors.Join(err, fault.Wrap(fault.Internal, "oauth2", b.rdb.Del(ctx, tokenKey(uid), lockKey(uid)).Err()))
}

var unlockScript = redis.NewScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)

func (b *Broker) unlock(ctx context.Context, uid, owner string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = unlockScript.Run(ctx, b.rdb, []string{lockKey(uid)}, owner).Err() // it lapses by itself
}

func (b *Broker) cached(ctx context.Context, uid string) (string, bool) {
	sealed, err := b.rdb.Get(ctx, tokenKey(uid)).Bytes()
	if err != nil {
		return "", false
	}
	t, err := b.vault.Unseal(sealed, sealContext(uid))
	return t, err == nil
}

// refresh does steps 3 to 5, under the lock. What was begun is finished although ctx ends: a rotated refresh
// token that is not kept would be lost.
func (b *Broker) refresh(ctx context.Context, uid string) (string, error) {
	c, revision, err := b.read(ctx, uid)
	if err != nil {
		return "", err
	}
	if c.RefreshToken == "" {
		return "", needed()
	}
	p, err := b.provider(ctx, c.Provider)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*b.cfg.RequestLimit-time.Second)
	defer cancel()
	old := &oauth2.Token{RefreshToken: c.RefreshToken}
	t, err := b.config(p).TokenSource(context.WithValue(ctx, oauth2.HTTPClient, b.client), old).Token()
	if refusedGrant(err) {
		c.RefreshToken = ""
		if _, err := b.write(ctx, uid, c, revision); err != nil {
			return "", err
		}
		return "", needed()
	}
	if err != nil {
		return "", unreachable(p.Name, err)
	}
	if t.RefreshToken != "" && t.RefreshToken != c.RefreshToken {
		c.RefreshToken = t.RefreshToken
		if _, err := b.write(ctx, uid, c, revision); err != nil {
			return "", err
		}
	}
	return t.AccessToken, b.cache(ctx, uid, t)
}

// cache shares the token. One without an end is asked for again after an hour.
func (b *Broker) cache(ctx context.Context, uid string, t *oauth2.Token) error {
	life := time.Hour
	if !t.Expiry.IsZero() {
		life = time.Until(t.Expiry)
	}
	if life > 2*early {
		life -= early
	} else {
		life /= 2
	}
	if life < time.Millisecond {
		return nil
	}
	sealed, err := b.vault.Seal(t.AccessToken, sealContext(uid))
	if err != nil {
		return err
	}
	return fault.Wrap(fault.Internal, "oauth2", b.rdb.Set(ctx, tokenKey(uid), sealed, life).Err())
}

func (b *Broker) read(ctx context.Context, uid string) (consent, uint64, error) {
	var c consent
	sealed, revision, err := b.store.Credential(ctx, uid)
	if err != nil || sealed == nil {
		return c, revision, err
	}
	plain, err := b.vault.Unseal(sealed, sealContext(uid))
	if err == nil && json.Unmarshal([]byte(plain), &c) != nil {
		err = fault.Errorf(fault.Internal, "oauth2", "the record of the consent cannot be read")
	}
	return c, revision, err
}

func (b *Broker) write(ctx context.Context, uid string, c consent, revision uint64) (uint64, error) {
	plain, err := json.Marshal(c)
	if err != nil {
		return 0, fault.New(fault.Internal, "oauth2", err)
	}
	sealed, err := b.vault.Seal(string(plain), sealContext(uid))
	if err != nil {
		return 0, err
	}
	return b.store.PutCredential(ctx, uid, sealed, revision)
}

func needed() error {
	return fault.Errorf(fault.ConsentNeeded, "oauth2", "the owner has not given consent, or the provider no longer honours it; "+
		"'mailferry account consent DOMAIN/NAME' asks for it")
}

// refusedGrant says whether the provider refuses the refresh token for good (RFC 6749 §5.2).
func refusedGrant(err error) bool {
	var e *oauth2.RetrieveError
	return errors.As(err, &e) && e.ErrorCode == "invalid_grant"
}

// unreachable is an error of the exchange without what the provider's answer holds, and without the URL.
func unreachable(provider string, err error) error {
	var e *oauth2.RetrieveError
	if errors.As(err, &e) {
		kind, code := fault.Unavailable, e.ErrorCode
		if code == "invalid_client" || code == "unauthorized_client" {
			kind = fault.Policy // ours to mend
		}
		if code == "" && e.Response != nil {
			code = e.Response.Status
		}
		return fault.Errorf(kind, "oauth2", "provider %s refuses: %s", provider, fault.Clean(code))
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return known
	}
	kind := fault.KindOf(err)
	if kind == fault.Internal {
		kind = fault.Unavailable
	}
	return fault.Errorf(kind, "oauth2", "provider %s does not answer", provider)
}
