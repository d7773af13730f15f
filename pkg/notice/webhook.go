package notice

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// Header fields of a webhook, as Standard Webhooks (standardwebhooks.com) has them.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

const (
	// postLimit bounds one attempt, from the look-up of the name to the end of the answer's header.
	postLimit = 10 * time.Second
	// maxURL and the others bound what an administrator fills in, in octets.
	maxURL, minSecret, maxSecret = 2048, 16, 512
)

// Sign returns the signature of a webhook: "v1," and the HMAC-SHA256 of "id.timestamp.body" in base64. timestamp is in
// seconds since 1970.
func Sign(secret, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	for _, part := range [][]byte{[]byte(id), []byte("."), []byte(timestamp), []byte("."), body} {
		mac.Write(part) // it returns no error
	}
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// ValidateWebhook says what is wrong with the URL of a webhook.
func ValidateWebhook(s string) error {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxURL || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return &account.Error{Field: "webhook_url", Reason: "want https://HOST/PATH, or http://"}
	}
	if u.User != nil || u.Fragment != "" {
		return &account.Error{Field: "webhook_url", Reason: "holds no user, password or fragment: requests are signed with the secret"}
	}
	return nil
}

// ValidateSecret says what is wrong with the secret of a webhook, without quoting it.
func ValidateSecret(s string) error {
	if len(s) < minSecret || len(s) > maxSecret {
		return &account.Error{Field: "webhook_secret", Reason: "want " + strconv.Itoa(minSecret) + " to " + strconv.Itoa(maxSecret) + " bytes"}
	}
	return nil
}

// body is what a webhook says. Its names never change their meaning.
type body struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      data      `json:"data"`
}

type data struct {
	ID         string     `json:"id"`
	Account    string     `json:"account"`
	AccountUID string     `json:"account_uid"`
	Domain     string     `json:"domain"`
	Name       string     `json:"name"`
	Kind       string     `json:"kind,omitempty"`
	Message    string     `json:"message,omitempty"`
	Advice     string     `json:"advice,omitempty"`
	Failures   int64      `json:"failures,omitempty"`
	Since      *time.Time `json:"since,omitempty"`
	Skipped    int64      `json:"skipped,omitempty"`
	RunID      string     `json:"run_id,omitempty"`
}

// Body returns the JSON of a notice.
func Body(n *mailferryv1.Notice) ([]byte, error) {
	d := data{
		ID: n.GetId(), Account: n.GetDomain() + "/" + n.GetName(), AccountUID: n.GetAccountUid(), Domain: n.GetDomain(), Name: n.GetName(),
		Kind: fault.Kind(n.GetFault().GetKind()).String(), Message: n.GetFault().GetMessage(), Advice: n.GetFault().GetAdvice(),
		Failures: n.GetFailures(), Skipped: n.GetSkipped(), RunID: n.GetRunId(),
	}
	if n.GetSince() != nil {
		since := n.GetSince().AsTime().Truncate(time.Second)
		d.Since = &since
	}
	return json.Marshal(body{Type: "account." + string(TypeOf(n)), Timestamp: n.GetAt().AsTime().Truncate(time.Second), Data: d})
}

// TypeOf returns the type of a notice as people write it.
func TypeOf(n *mailferryv1.Notice) Type {
	return Type(strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(n.GetType().String(), "NOTICE_TYPE_")), "_", "-"))
}

// ProtoType returns the wire form of a type.
func ProtoType(t Type) mailferryv1.NoticeType {
	return mailferryv1.NoticeType(mailferryv1.NoticeType_value["NOTICE_TYPE_"+strings.ReplaceAll(strings.ToUpper(string(t)), "-", "_")])
}

// Poster posts webhooks.
type Poster struct{ client *http.Client }

// NewPoster returns a poster that connects through dial, which is where the egress guard is. It follows no redirect and
// uses no proxy, so that nothing but dial decides where it goes.
func NewPoster(dial func(ctx context.Context, network, addr string) (net.Conn, error), tlsConfig *tls.Config) *Poster {
	return &Poster{client: &http.Client{
		Timeout:       postLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dial, TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true, TLSHandshakeTimeout: postLimit, ResponseHeaderTimeout: postLimit,
			MaxResponseHeaderBytes: 64 << 10, MaxIdleConns: 16, IdleConnTimeout: 30 * time.Second,
		},
	}}
}

// Close drops idle connections.
func (p *Poster) Close() { p.client.CloseIdleConnections() }

// Post posts a notice, signed at the time now. Any answer but 2xx is a temporary fault; an address that may not be reached
// is one of kind policy, and so is 410 (Gone), by which a receiver says that it wants no more of it.
func (p *Poster) Post(ctx context.Context, to, secret string, n *mailferryv1.Notice, now time.Time) error {
	const op = "webhook"
	content, err := Body(n)
	if err != nil {
		return fault.New(fault.Internal, op, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(content))
	if err != nil {
		return fault.Errorf(fault.Policy, op, "the URL cannot be read")
	}
	at := strconv.FormatInt(now.Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "mailferry")
	req.Header.Set(HeaderID, n.GetId())
	req.Header.Set(HeaderTimestamp, at)
	req.Header.Set(HeaderSignature, Sign(secret, n.GetId(), at, content))
	res, err := p.client.Do(req)
	if err != nil {
		if u, ok := err.(*url.Error); ok { //nolint:errorlint // it quotes the URL, which may hold a token of the receiver's
			err = u.Err
		}
		return fault.New(cmp.Or(fault.KindOf(err), fault.Network), op, err)
	}
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10) // so that a short answer leaves the connection to the next
	_ = res.Body.Close()
	switch {
	case res.StatusCode/100 == 2:
		return nil
	case res.StatusCode == http.StatusGone:
		return fault.Errorf(fault.Policy, op, "the receiver answered 410 Gone: it wants no more of this")
	}
	return fault.Errorf(fault.DestinationTemporary, op, "the receiver answered %d", res.StatusCode)
}
