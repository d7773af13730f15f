package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"connectrpc.com/connect"
	"gopkg.in/yaml.v3"

	"github.com/mailferry/mailferry/pkg/account"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// RulesCmd administers the rules of accounts and domains.
type RulesCmd struct {
	Show RulesShowCmd `cmd:"" help:"Print the rules of an account or a domain, as 'rules set' reads them."`
	Set  RulesSetCmd  `cmd:"" help:"Replace the rules of an account or a domain."`
}

// rulesHelp is the form of a file with rules.
const rulesHelp = `A file of rules:

  rules:
    - name: invoices
      when:
        sender: "*@billing.example.net"      # From, or the reverse-path
        subject: "*invoice*"
      to: accounting@example.com             # instead of the recipient; a list for several
      continue: true                         # and look at the next rules
    - name: spam of the provider
      when: {header: "X-Spam-Flag: YES"}
      subfolder: Junk                        # a mailbox beneath whatever gets it
    - name: large
      when: {larger: 20MB, mailbox: Archive/*}
      copy: [boss@example.com/Large]         # besides
    - when: {recipient: "test-*@example.com", smaller: 1kB}
      discard: true                          # nobody gets it; it counts as collected

All conditions of a rule must hold; the first rule that fits is applied. In patterns * stands for anything, and
case does not matter. Rules of an account come before those of its domain. Each recipient is judged by itself.`

// RulesShowCmd prints rules.
type RulesShowCmd struct {
	Client `embed:""`

	What string `arg:"" name:"domain[/name]" help:"The account, or the domain."`
}

// Run prints the rules as YAML.
func (c *RulesShowCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	var rules []account.Rule
	if ref, ok := accountOf(c.What); ok {
		got, err := to.accounts.GetAccount(ctx, &mailferryv1.GetAccountRequest{Ref: ref.proto()})
		if err != nil {
			return err
		}
		rules = account.RulesFromProto(got.GetAccount().GetRules())
	} else {
		d, err := to.domain(ctx, c.What)
		if err != nil {
			return err
		}
		rules = account.RulesFromProto(d.GetRules())
	}
	if c.JSON {
		return printJSON(env.Stdout, &mailferryv1.Domain{Rules: account.RulesProto(rules)})
	}
	out, err := formatRules(rules)
	if err == nil {
		_, err = env.Stdout.Write(out)
	}
	return err
}

// accountOf reads DOMAIN/NAME; false if it is a domain.
func accountOf(what string) (Ref, bool) {
	var r Ref
	return r, strings.Contains(what, "/") && r.UnmarshalText([]byte(what)) == nil
}

// domain returns a domain by its name.
func (c *clients) domain(ctx context.Context, name string) (*mailferryv1.Domain, error) {
	all, err := c.fleet.ListDomains(ctx, &mailferryv1.ListDomainsRequest{})
	if err != nil {
		return nil, err
	}
	for _, d := range all.GetDomains() {
		if d.GetName() == strings.ToLower(name) {
			return d, nil
		}
	}
	return nil, &failure{"not-found", fmt.Sprintf("domain %s does not exist", name), "see 'mailferry domain list', or add it with 'mailferry domain add'"}
}

// RulesSetCmd replaces rules.
type RulesSetCmd struct {
	Client `embed:""`

	What string `arg:"" name:"domain[/name]" help:"The account, or the domain."`
	File string `arg:"" help:"File with the rules; - for standard input. One without rules removes them all."`
}

// Help shows the form of the file.
func (*RulesSetCmd) Help() string {
	return rulesHelp + `

Examples:
  mailferry rules show example.com/office > rules.yaml
  mailferry route explain example.com/office message.eml --rules rules.yaml   (try them first)
  mailferry rules set example.com/office rules.yaml`
}

// Run writes the rules at the revision that was read, again if somebody else was faster.
func (c *RulesSetCmd) Run(ctx context.Context, env *Env) error {
	rules, err := readRules(env, c.File)
	if err != nil {
		return err
	}
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	write := c.domain
	if _, ok := accountOf(c.What); ok {
		write = c.account
	}
	for range maxEdits {
		if err = write(ctx, to, rules); connect.CodeOf(err) != connect.CodeAborted {
			break
		}
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(env.Stdout, &mailferryv1.Domain{Rules: account.RulesProto(rules)})
	}
	_, err = fmt.Fprintf(env.Stdout, "%s has %s\n", c.What, count(int64(len(rules)), "rule"))
	return err
}

func (c *RulesSetCmd) account(ctx context.Context, to *clients, rules []account.Rule) error {
	ref, _ := accountOf(c.What)
	got, err := to.accounts.GetAccount(ctx, &mailferryv1.GetAccountRequest{Ref: ref.proto()})
	if err != nil {
		return err
	}
	a := got.GetAccount()
	a.Rules = account.RulesProto(rules)
	_, err = to.accounts.UpdateAccount(ctx, &mailferryv1.UpdateAccountRequest{Account: a})
	return err
}

func (c *RulesSetCmd) domain(ctx context.Context, to *clients, rules []account.Rule) error {
	d, err := to.domain(ctx, c.What)
	if err != nil {
		return err
	}
	d.Rules = account.RulesProto(rules)
	_, err = to.fleet.PutDomain(ctx, &mailferryv1.PutDomainRequest{Domain: d})
	return err
}

// The form of a file with rules.
type (
	ruleFile struct {
		Rules []ruleText `yaml:"rules"`
	}
	ruleText struct {
		Name      string    `yaml:"name,omitempty"`
		When      whenText  `yaml:"when"`
		To        oneOrMany `yaml:"to,omitempty"`
		Subfolder string    `yaml:"subfolder,omitempty"`
		Copy      oneOrMany `yaml:"copy,omitempty"`
		Discard   bool      `yaml:"discard,omitempty"`
		Continue  bool      `yaml:"continue,omitempty"`
	}
	whenText struct {
		Sender    string `yaml:"sender,omitempty"`
		Recipient string `yaml:"recipient,omitempty"`
		Subject   string `yaml:"subject,omitempty"`
		Header    string `yaml:"header,omitempty"`
		Larger    string `yaml:"larger,omitempty"`
		Smaller   string `yaml:"smaller,omitempty"`
		Mailbox   string `yaml:"mailbox,omitempty"`
	}
	// oneOrMany is a list that may be written as its only entry.
	oneOrMany []string
)

// UnmarshalYAML reads an entry or a list.
func (m *oneOrMany) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*m = oneOrMany{n.Value}
		return nil
	}
	return n.Decode((*[]string)(m))
}

// maxRulesFile bounds a file with rules, in octets.
const maxRulesFile = 256 << 10

// readRules reads and checks a file with rules.
func readRules(env *Env, file string) ([]account.Rule, error) {
	content, err := readInput(env, file, maxRulesFile)
	if err != nil {
		return nil, err
	}
	var text ruleFile
	dec := yaml.NewDecoder(bytes.NewReader(content))
	dec.KnownFields(true)
	if err := dec.Decode(&text); err != nil && !errors.Is(err, io.EOF) {
		return nil, usage("%s: %s", file, strings.ReplaceAll(err.Error(), "\n", " "))
	}
	var rules []account.Rule
	for i, t := range text.Rules {
		r, err := t.rule()
		if err != nil {
			return nil, usage("%s: rule %d %q: %s", file, i+1, t.Name, err)
		}
		rules = append(rules, r)
	}
	if err := account.ValidateRules(rules); err != nil {
		return nil, usage("%s: %s", file, strings.TrimPrefix(err.Error(), "rules: "))
	}
	return rules, nil
}

// readInput reads a file, or standard input for -, of at most limit octets.
func readInput(env *Env, file string, limit int64) ([]byte, error) {
	in := env.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usage("%s", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	content, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("is larger than %s", size(limit))
	}
	if err != nil {
		return nil, usage("%s: %s", file, err)
	}
	return content, nil
}

func (t ruleText) rule() (account.Rule, error) {
	r := account.Rule{
		Name: t.Name, Sender: t.When.Sender, Recipient: t.When.Recipient, Subject: t.When.Subject, Header: t.When.Header,
		Mailbox: t.When.Mailbox, To: t.To, Subfolder: t.Subfolder, Copy: t.Copy, Discard: t.Discard, Continue: t.Continue,
	}
	var err error
	if r.LargerThan, err = octetsOf(t.When.Larger); err == nil {
		r.SmallerThan, err = octetsOf(t.When.Smaller)
	}
	return r, err
}

func octetsOf(text string) (int64, error) {
	var o Octets
	if text == "" {
		return 0, nil
	}
	err := o.UnmarshalText([]byte(text))
	return int64(o), err
}

// formatRules writes what readRules reads.
func formatRules(rules []account.Rule) ([]byte, error) {
	var text ruleFile
	octets := func(n int64) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprint(n)
	}
	for _, r := range rules {
		text.Rules = append(text.Rules, ruleText{
			Name: r.Name, To: r.To, Subfolder: r.Subfolder, Copy: r.Copy, Discard: r.Discard, Continue: r.Continue,
			When: whenText{
				Sender: r.Sender, Recipient: r.Recipient, Subject: r.Subject, Header: r.Header, Mailbox: r.Mailbox,
				Larger: octets(r.LargerThan), Smaller: octets(r.SmallerThan),
			},
		})
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	err := enc.Encode(text)
	return out.Bytes(), err
}
