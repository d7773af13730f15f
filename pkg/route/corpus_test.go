package route_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/route"
)

// headerCase is a case of testdata/recipients, whose README says what its words mean.
type headerCase struct {
	file, name string
	account    account.Account
	header     string // lines end in LF
	want       []string
	tier       string
}

var tenant = route.Tenant{Local: []string{"shop.example.org", "bücher.example"}, Aliases: []string{"example.net", "old.example.com"}}

// corpus reads all cases.
func corpus(t testing.TB) []headerCase {
	t.Helper()
	files, err := filepath.Glob("testdata/recipients/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus", err)
	}
	var out []headerCase
	seen := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split("\n"+string(text), "\n=== ")[1:] {
			c, err := readCase(strings.TrimSuffix(part, "\n") + "\n")
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			c.file = filepath.Base(file)
			if seen[c.name] {
				t.Fatalf("%s: two cases are called %q", file, c.name)
			}
			seen[c.name] = true
			out = append(out, c)
		}
	}
	return out
}

func readCase(text string) (headerCase, error) {
	judgement, header, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(judgement, "\n")
	c := headerCase{name: lines[0], header: header, account: account.Account{
		Domain: "example.com", Name: "office", ForwardTo: "office@example.com",
		Recipients: account.Recipients{Mode: account.FromHeaders},
	}}
	for _, line := range lines[1:] {
		word, value, ok := strings.Cut(line, ": ")
		if !ok {
			return c, fmt.Errorf("%s: %q", c.name, line)
		}
		if err := c.judge(word, value); err != nil {
			return c, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if c.want == nil || c.tier == "" {
		return c, fmt.Errorf("%s: no judgement", c.name)
	}
	return c, nil
}

var escape = regexp.MustCompile(`\\x[0-9a-f]{2}`)

func (c *headerCase) judge(word, value string) error {
	r := &c.account.Recipients
	switch word {
	case "want":
		c.want = []string{}
		if value != "none" {
			c.want = strings.Fields(value)
		}
	case "tier":
		c.tier = value
	case "mode":
		r.Mode = account.RecipientMode(value)
	case "header":
		name, n, _ := strings.Cut(value, ":")
		r.Header, r.HeaderIndex = name, 1
		if n != "" {
			r.HeaderIndex, _ = strconv.Atoi(n)
		}
	case "headers":
		r.Headers = strings.Split(value, ", ")
	case "received":
		r.Received = account.ReceivedMode(value)
	case "received-by":
		r.ReceivedBy = strings.Fields(value)
	case "use":
		r.Resent, r.ToCc = strings.Contains(value, "resent"), strings.Contains(value, "to-cc")
	case "strip":
		r.StripPrefixes = append(r.StripPrefixes, value)
	case "match":
		r.Match = append(r.Match, value)
	case "rewrite":
		from, to, _ := strings.Cut(value, " -> ")
		r.Rewrites = append(r.Rewrites, account.Rewrite{From: from, To: to})
	case "escaped":
		c.header = escape.ReplaceAllStringFunc(c.header, func(s string) string {
			b, _ := strconv.ParseUint(s[2:], 16, 8)
			return string([]byte{byte(b)})
		})
	default:
		return fmt.Errorf("%q is no word of a judgement", word)
	}
	return nil
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	all := corpus(t)
	if len(all) < 150 {
		t.Errorf("%d cases, want at least 150", len(all))
	}
	for _, c := range all {
		t.Run(c.file+"/"+c.name, func(t *testing.T) {
			t.Parallel()
			filled := c.account
			filled.Protocol, filled.Host, filled.Username = account.POP3, "pop.isp.test", "catchall"
			if err := filled.WithDefaults().Validate(); err != nil {
				t.Errorf("no administrator could save this: %v", err)
			}
			for _, header := range []string{c.header, strings.ReplaceAll(c.header, "\n", "\r\n")} {
				var steps []string
				got := route.Find(c.account, tenant, []byte(header), func(s route.Step) { steps = append(steps, fmt.Sprintf("%+v", s)) })
				by := strings.TrimSpace(got.Tier + " " + got.Field)
				if !slices.Equal(got.Recipients, c.want) || !strings.EqualFold(by, c.tier) {
					t.Errorf("got %v by %s\nwant %v by %s\n%s", got.Recipients, by, c.want, c.tier, strings.Join(steps, "\n"))
				}
			}
		})
	}
}
