package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

func TestEveryKindHasAVerdict(t *testing.T) {
	t.Parallel()
	for n := range mailferryv1.FaultKind_name {
		k := fault.Kind(n)
		if k == fault.None {
			continue
		}
		v := k.Verdict()
		if v.Advice == "" || v.Side == "" {
			t.Errorf("%v: no verdict", k)
		}
		if v.First > v.Cap || v.Cap > 24*time.Hour || v.First == 0 && k != fault.Canceled {
			t.Errorf("%v: waits %v to %v", k, v.First, v.Cap)
		}
		if k != fault.Internal && v == fault.Internal.Verdict() {
			t.Errorf("%v: shares the verdict of internal", k)
		}
		if strings.ToLower(k.String()) != k.String() || strings.Contains(k.String(), "_") {
			t.Errorf("%d: bad word %q", n, k)
		}
	}
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err  error
		want fault.Kind
	}{
		{nil, fault.None},
		{errors.New("x"), fault.Internal},
		{context.Canceled, fault.Canceled},
		{fmt.Errorf("a: %w", context.DeadlineExceeded), fault.Timeout},
		{&net.DNSError{IsTimeout: true}, fault.DNS},
		{&net.OpError{Err: syscall.ECONNREFUSED}, fault.Refused},
		{io.ErrUnexpectedEOF, fault.Network},
		{fmt.Errorf("a: %w", fault.New(fault.Auth, "pop3 pass", io.EOF)), fault.Auth},
		{fault.Wrap(fault.Protocol, "x", fault.New(fault.TLS, "y", io.EOF)), fault.TLS},
		{fault.Wrap(fault.Protocol, "x", errors.New("odd")), fault.Protocol},
		{fault.Wrap(fault.Protocol, "x", io.EOF), fault.Network},
	}
	for _, tt := range tests {
		if got := fault.KindOf(tt.err); got != tt.want {
			t.Errorf("KindOf(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}

func TestCleanCannotForgeALogLine(t *testing.T) {
	t.Parallel()
	got := fault.Clean("no\r\nlevel=info msg=fine\x1b[31m\x00" + strings.Repeat("é", 300))
	if strings.ContainsAny(got, "\r\n\x1b\x00") || len(got) > 300 {
		t.Errorf("Clean = %q", got)
	}
}
