package account_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
)

func TestLabels(t *testing.T) {
	t.Parallel()
	base := account.Account{
		Domain: "example.com", Name: "x", Protocol: account.POP3, Host: "pop.example.net", Username: "u", ForwardTo: "alice@example.com",
	}
	many := make([]string, 17)
	for i := range many {
		many[i] = string(rune('a' + i))
	}
	for _, tt := range []struct {
		labels, want []string // nil: refused
	}{
		{[]string{"vip", "eu-west.2", "vip", "_x"}, []string{"_x", "eu-west.2", "vip"}},
		{many[:16], many[:16]},
		{[]string{strings.Repeat("a", 63)}, []string{strings.Repeat("a", 63)}},
		{append(many[:16:16], many[:16]...), many[:16]},
		{many, nil},
		{[]string{strings.Repeat("a", 64)}, nil},
		{[]string{"VIP"}, nil},
		{[]string{""}, nil},
		{[]string{"a b"}, nil},
		{[]string{"ä"}, nil},
		{[]string{"a\n"}, nil},
	} {
		a := base
		a.Labels = tt.labels
		a = a.WithDefaults()
		err := a.Validate()
		if got := account.FromProto(a.Proto()).Labels; (err == nil) != (tt.want != nil) || err == nil && !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, %v", tt.labels, got, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "labels: ") {
			t.Errorf("%q: %v", tt.labels, err)
		}
	}
	base.Labels = []string{"vip"}
	if !base.HasLabel("vip") || !base.HasLabel("") || base.HasLabel("v") {
		t.Error("HasLabel")
	}
}
