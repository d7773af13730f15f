package cli_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

func (f *fake) StartConsent(_ context.Context, _ *mailferryv1.StartConsentRequest, s *connect.ServerStream[mailferryv1.StartConsentResponse]) error {
	for _, r := range f.consent {
		if err := s.Send(r); err != nil {
			return err
		}
	}
	if f.broken {
		return refuse(connect.CodeFailedPrecondition, mailferryv1.FaultKind_FAULT_KIND_CONSENT_NEEDED, "account example.com/gmail-alice: nobody gave consent while this waited", "ask again")
	}
	return nil
}

func TestConsentSaysWhereTheOwnerGoes(t *testing.T) {
	t.Parallel()
	link := &mailferryv1.StartConsentResponse{Link: "https://provider.example/auth?state=s", ExpiresAt: at(15 * time.Minute)}
	code := &mailferryv1.StartConsentResponse{Link: "https://provider.example/device", Code: "ABCD-EFGH", ExpiresAt: at(10 * time.Minute)}
	given := &mailferryv1.StartConsentResponse{Given: true}
	for _, tt := range []struct {
		name string
		fake *fake
		args string
		code int
	}{
		{"consent", &fake{consent: []*mailferryv1.StartConsentResponse{link, given}}, "", 0},
		{"consent-device", &fake{consent: []*mailferryv1.StartConsentResponse{code, given}}, "--device", 0},
		{"consent-json", &fake{consent: []*mailferryv1.StartConsentResponse{link, given}}, "--json", 0},
		{"consent-cut", &fake{consent: []*mailferryv1.StartConsentResponse{link}}, "", 1},
		{"consent-not-given", &fake{consent: []*mailferryv1.StartConsentResponse{link}, broken: true}, "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newShell(t, tt.fake).run(strings.Fields("account consent example.com/gmail-alice " + tt.args)...)
			if r.code != tt.code {
				t.Errorf("exit code %d, want %d", r.code, tt.code)
			}
			golden(t, tt.name, r)
		})
	}
}
