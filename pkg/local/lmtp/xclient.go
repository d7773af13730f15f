package lmtp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailferry/mailferry/pkg/local"
)

// errOther ends a connection whose server takes us for a client of an earlier message: another one is opened.
var errOther = errors.New("the connection is that of another client")

// introduce tells the server which client the next message is of, by XCLIENT
// (https://www.postfix.org/XCLIENT_README.html), where it offers that. The session begins anew then, but for TLS,
// with the client's own greeting. A server that refuses takes the message as ours.
func (cn *conn) introduce(ctx context.Context, c local.Client) error {
	const step = "xclient"
	attributes := cn.attributes(c)
	if attributes == cn.client {
		return nil
	}
	if attributes == "" {
		return cn.failure(ctx, step, errOther)
	}
	r, err := cn.ask(ctx, step, nil, "XCLIENT", attributes)
	switch {
	case err != nil:
		return err
	case r.code/100 == 5 && cn.client == "":
		return nil
	case !r.ok():
		return cn.unwilling(step, r)
	}
	cn.client, cn.dirty = attributes, false
	name := c.Helo
	if !validWord(name) {
		name = "[" + strings.Replace(address(c), "IPV6", "IPv6", 1) + "]"
	}
	if err := cn.hello(ctx, name); err != nil {
		return err
	}
	return cn.signIn(ctx, cn.cfg)
}

// attributes returns those of XCLIENT that the server takes; "" where there is nothing to tell, or it takes no address.
func (cn *conn) attributes(c local.Client) string {
	if !c.IP.IsValid() || !slices.Contains(cn.ext.client, "ADDR") {
		return ""
	}
	s := " ADDR=" + address(c)
	for _, a := range []struct{ name, value string }{{"NAME", c.Name}, {"HELO", c.Helo}} {
		if !slices.Contains(cn.ext.client, a.name) {
			continue
		}
		value := "[UNAVAILABLE]"
		if a.value != "" {
			value = xtext(a.value)
		}
		s += " " + a.name + "=" + value
	}
	return s
}

func address(c local.Client) string {
	if c.IP.Is6() {
		return "IPV6:" + c.IP.String()
	}
	return c.IP.String()
}

// xtext is the encoding of RFC 3461 §4.
func xtext(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
