package local_test

import (
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
)

func TestReplyKind(t *testing.T) {
	t.Parallel()
	tests := []struct {
		code int
		text string
		want fault.Kind
	}{
		{250, "2.0.0 saved", fault.None},
		{250, "5.2.2 odd", fault.None},
		{451, "4.3.0 later", fault.DestinationTemporary},
		{421, "", fault.DestinationTemporary},
		{452, "4.2.2 over quota", fault.DestinationQuota},
		{452, "over quota", fault.DestinationQuota},
		{452, "", fault.DestinationQuota},
		{452, "4.3.1 the disk is full", fault.DestinationTemporary},
		{452, "4.5.3 too many recipients", fault.DestinationTemporary},
		{422, "4.2.2 over quota", fault.DestinationQuota},
		{552, "5.2.2 over quota", fault.DestinationQuota},
		{554, "5.2.2 over quota", fault.DestinationQuota},
		{552, "over quota", fault.DestinationQuota},
		{552, "5.3.4 too big", fault.DestinationRejected},
		{552, "5.2. odd", fault.DestinationQuota},
		{550, "5.1.1 unknown", fault.DestinationRejected},
		{599, "", fault.DestinationRejected},
		{354, "odd", fault.DestinationTemporary},
	}
	for _, tt := range tests {
		r := local.Reply{Recipient: "a@b", Code: tt.code, Text: tt.text}
		if got := r.Kind(); got != tt.want {
			t.Errorf("%d %q: kind %v, want %v", tt.code, tt.text, got, tt.want)
		}
		if got := fault.KindOf(r.Fault()); got != tt.want {
			t.Errorf("%d %q: fault %v, want %v", tt.code, tt.text, got, tt.want)
		}
	}
	err := local.Reply{Recipient: "a@b\r\n", Code: 550, Text: "5.1.1 unknown"}.Fault()
	if s := err.Error(); strings.ContainsAny(s, "\r\n") || !strings.Contains(s, "550 5.1.1 unknown for a@b") {
		t.Errorf("fault %q", s)
	}
}
