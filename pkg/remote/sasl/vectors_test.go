package sasl

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
)

// The dialogues of RFC 5802 §5 and RFC 7677 §3, which leave the bound of RFC 7677 alone: 4096 iterations.
func TestScramOfTheRFCs(t *testing.T) {
	t.Parallel()
	for m, v := range map[Mechanism]struct{ nonce, first, serverFirst, final, serverFinal string }{
		ScramSHA1: {
			"fyko+d2lbbFgONRv9qkxdawL",
			"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
			"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
			"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		},
		ScramSHA256: {
			"rOprNGfwEbeRWgbNEkqO",
			"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
	} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			begin := func() *Attempt {
				a := &Attempt{Mechanism: m}
				s, err := newScram(a, Credentials{Username: "user", Password: "pencil"}, Offer{}, func() string { return v.nonce })
				if err != nil {
					t.Fatal(err)
				}
				a.client = s
				if name, ir, err := a.Start(); name != string(m) || string(ir) != v.first || err != nil {
					t.Fatal(name, string(ir), err)
				}
				return a
			}
			a := begin()
			if r, err := a.Next([]byte(v.serverFirst)); string(r) != v.final || err != nil {
				t.Fatal(string(r), err)
			}
			if a.Accepted() == nil {
				t.Error("accepted before the server has proved anything")
			}
			if r, err := a.Next([]byte(v.serverFinal)); len(r) != 0 || err != nil {
				t.Fatal(string(r), err)
			}
			if err := a.Accepted(); err != nil {
				t.Error(err)
			}

			forged := begin()
			_, _ = forged.Next([]byte(v.serverFirst))
			wrong := base64.StdEncoding.EncodeToString(make([]byte, 20))
			if _, err := forged.Next([]byte("v=" + wrong)); fault.KindOf(err) != fault.Protocol {
				t.Errorf("a wrong server signature: %v", err)
			}
			if forged.Accepted() == nil {
				t.Error("accepted with a wrong server signature")
			}
		})
	}
}

func TestScramBoundsIterations(t *testing.T) {
	t.Parallel()
	for _, count := range []string{"1", "4095", "1000001", "999999999999", "-4096", "", "4096x", "0x1000"} {
		a := &Attempt{Mechanism: ScramSHA256}
		s, err := newScram(a, Credentials{Username: "user", Password: "pencil"}, Offer{}, func() string { return "n" })
		if err != nil {
			t.Fatal(err)
		}
		a.client = s
		_, _, _ = a.Start()
		_, err = a.Next([]byte("r=nn,s=QSXCR+Q6sek8bf92,i=" + count))
		if fault.KindOf(err) != fault.Protocol || !strings.Contains(err.Error(), "4096 to 1000000") || a.sent {
			t.Errorf("i=%s: %v", count, err)
		}
	}
}

// RFC 2195 §2.
func TestCramMD5OfTheRFC(t *testing.T) {
	t.Parallel()
	a, err := New(CramMD5, Credentials{Username: "tim", Password: "tanstaaftanstaaf"}, Offer{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.Next([]byte("<1896.697170952@postoffice.reston.mci.net>"))
	if string(r) != "tim b913a602c7eda7a495b4e6e7334d3890" || err != nil {
		t.Error(string(r), err)
	}
	if _, err := a.Next([]byte("<again@example.org>")); err == nil {
		t.Error("a second challenge is answered")
	}
}

// FuzzChallenge feeds what a server may send to every mechanism: no panic, bounded steps, no secret in an
// error, no work for a wild iteration count.
func FuzzChallenge(f *testing.F) {
	for _, s := range []string{
		"r=n1,s=QSXCR+Q6sek8bf92,i=4096", "r=n1,s=,i=4096", "m=ext,r=n1,s=QQ==,i=4096", "e=unknown-user", "v=AAAA",
		`{"status":"invalid_token","scope":"mail"}`, "<1896.697170952@example.org>", "Username:", "", "r=,s=,i=", "i=1,i=2,i=1000001",
	} {
		f.Add([]byte(s), []byte(s))
	}
	const secret = "cAnary-7f3a"
	f.Fuzz(func(t *testing.T, one, two []byte) {
		for _, m := range []Mechanism{ScramSHA256, ScramSHA1, CramMD5, Plain, Login} {
			a, err := New(m, Credentials{Username: "user", Password: secret}, Offer{})
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := a.client.(*scramClient); ok {
				s, err := newScram(a, Credentials{Username: "user", Password: secret}, Offer{}, func() string { return "n" })
				if err != nil {
					t.Fatal(err)
				}
				a.client = s
			}
			_, _, _ = a.Start()
			for _, c := range [][]byte{one, two, one} {
				if strings.Contains(string(c), "i=") && len(c) > 0 && !strings.Contains(string(c), "i=4096") && checkIterations(string(c)) == nil {
					return // slow and right
				}
				_, err := a.Next(c)
				if err != nil && (strings.Contains(err.Error(), secret) || strings.ContainsAny(err.Error(), "\r\n\x00")) {
					t.Fatalf("%s: %q", m, err)
				}
				if err != nil {
					break
				}
			}
			if m == ScramSHA256 && a.Accepted() == nil {
				t.Fatal("accepted without a proof")
			}
		}
		b := &bearer{a: &Attempt{Mechanism: XOAuth2}, Credentials: Credentials{Username: "user", Token: secret}}
		_, _ = b.Next(one)
		if strings.Contains(b.a.refused.Error(), secret) {
			t.Fatal(b.a.refused)
		}
	})
}
