package control_test

import (
	"bytes"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/mailferry/mailferry/pkg/directory"
	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// A password of a destination opens for the destination it was given for and no other, and no answer holds it.
func TestThePasswordOfADestinationGoesNowhereElse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := t.Context()
	put := func(d *mailferryv1.Domain, password *string) (*mailferryv1.Domain, error) {
		d.Name = "example.com"
		res, err := h.fleet.PutDomain(ctx, &mailferryv1.PutDomainRequest{Domain: d, DestinationPassword: password})
		if raw, _ := proto.Marshal(res); bytes.Contains(raw, []byte(canary)) || len(res.GetDomain().GetSealedDestinationPassword()) > 0 {
			t.Error("the answer holds the password")
		}
		return res.GetDomain(), err
	}
	opens := func(at string) bool {
		d, err := h.dir.Domain(ctx, "example.com")
		if err != nil {
			t.Fatal(err)
		}
		got, err := h.vault.Unseal([]byte(d.Login.Sealed), directory.LoginContext("example.com", at))
		return err == nil && got == canary
	}
	smart := "lmtp:relay.example:24"
	if _, err := put(&mailferryv1.Domain{Destination: smart, DestinationUsername: "ferry"}, proto.String(canary)); err != nil || !opens(smart) {
		t.Fatal(err, opens(smart))
	}
	if opens("lmtp:evil.example:24") {
		t.Error("it opens for another destination")
	}
	if d, err := put(&mailferryv1.Domain{Destination: smart, DestinationUsername: "ferry", RequireTls: true}, nil); err != nil || d.GetDestinationUsername() != "ferry" || !opens(smart) {
		t.Error("an edit of something else:", d, err, opens(smart))
	}
	if d, err := put(&mailferryv1.Domain{Destination: "lmtp:evil.example:24", DestinationUsername: "ferry"}, nil); err != nil || d.GetDestinationUsername() != "" || opens(smart) {
		t.Error("another destination:", d, err, opens(smart))
	}
	for _, tt := range []struct {
		d        *mailferryv1.Domain
		password *string
		want     string
	}{
		{&mailferryv1.Domain{Destination: smart, DestinationUsername: "other"}, nil, "destination_password"},
		{&mailferryv1.Domain{Destination: smart, DestinationUsername: "other"}, proto.String(""), "destination_password"},
		{&mailferryv1.Domain{Destination: smart, DestinationUsername: "other"}, proto.String("a\nb"), "line ends"},
		{&mailferryv1.Domain{Destination: smart, DestinationUsername: "other"}, proto.String(strings.Repeat("a", 9000)), "8192"},
		{&mailferryv1.Domain{Destination: smart}, proto.String(canary), "destination_username"},
		{&mailferryv1.Domain{DestinationUsername: "ferry"}, proto.String(canary), "destination_username"},
		{&mailferryv1.Domain{Destination: "maildir:/var/mail/%d/%n", DestinationUsername: "ferry"}, proto.String(canary), "destination_username"},
	} {
		_, err := put(tt.d, tt.password)
		wantError(t, err, connect.CodeInvalidArgument, fault.Policy, tt.want)
	}

	set := func(req *mailferryv1.PutSettingsRequest) (*mailferryv1.Settings, error) {
		res, err := h.fleet.PutSettings(ctx, req)
		if len(res.GetSettings().GetSealedDestinationPassword()) > 0 {
			t.Error("the answer holds the password")
		}
		return res.GetSettings(), err
	}
	s, err := set(&mailferryv1.PutSettingsRequest{Destination: &smart, DestinationUsername: proto.String("all"), DestinationPassword: proto.String(canary)})
	if err != nil || s.GetDestinationUsername() != "all" {
		t.Fatal(s, err)
	}
	if s, err = set(&mailferryv1.PutSettingsRequest{RequireTls: proto.Bool(true)}); err != nil || s.GetDestinationUsername() != "all" {
		t.Error("an edit of something else:", s, err)
	}
	stored, err := h.dir.Settings(ctx)
	if got, _ := h.vault.Unseal([]byte(stored.Login.Sealed), directory.LoginContext("", smart)); err != nil || got != canary {
		t.Error("the password of the settings does not open", err)
	}
	if s, err = set(&mailferryv1.PutSettingsRequest{Destination: proto.String("lmtp:other:24")}); err != nil || s.GetDestinationUsername() != "" {
		t.Error("another destination:", s, err)
	}
}
