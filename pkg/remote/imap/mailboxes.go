package imap

import (
	"context"
	"fmt"
	"slices"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// maxMailboxes is how many mailboxes are collected of one account.
const maxMailboxes = 1000

// gmail is the capability of Gmail, where a mailbox is a label and a message has many.
const gmail = "X-GM-EXT-1"

// chosen returns the mailboxes that the account collects, INBOX first, and notes for its owner. Only where
// patterns are among them the server is asked what there is.
func (s *session) chosen(ctx context.Context) (names, notes []string, err error) {
	c := s.choice
	if len(c.Names) == 0 {
		c.Names = []string{inbox}
	}
	var there []listed
	if slices.ContainsFunc(slices.Concat(c.Names, c.Exclude), isPattern) {
		f, err := s.listMailboxes(ctx)
		if err != nil {
			return nil, nil, err
		}
		if n := f.note(); n != "" {
			notes = append(notes, n)
		}
		there, s.delimiter = f.names, f.delimiter
	} else if c.Tree && slices.ContainsFunc(c.Names, func(n string) bool { return !strings.EqualFold(n, inbox) }) {
		if s.delimiter, err = s.askDelimiter(ctx); err != nil {
			return nil, nil, err
		}
	}
	names, n := pick(c, there, s.caps.Has(gmail))
	notes = append(notes, n...)
	if len(names) == 0 {
		return nil, nil, fault.Errorf(fault.NotFound, "imap list", "the account collects no mailbox: none of the server is among %s",
			strings.Join(c.Names, ", "))
	}
	return names, notes, nil
}

func isPattern(name string) bool {
	return name == account.AllMailboxes || strings.ContainsAny(name, "*%")
}

// pick returns which of the mailboxes that are there the account collects, and those that it names, whether they
// are listed or not.
func pick(c remote.Mailboxes, there []listed, isGmail bool) (names, notes []string) {
	out := func(m listed) bool {
		return c.MoveTo != "" && strings.EqualFold(m.name, c.MoveTo) ||
			slices.ContainsFunc(c.Exclude, func(p string) bool { return matches(p, m.name, m.delimiter) })
	}
	taken := make(map[string]bool)
	take := func(m listed) {
		if !taken[m.name] && !out(m) {
			taken[m.name] = true
			names = append(names, m.name)
		}
	}
	all := slices.Contains(c.Names, account.AllMailboxes)
	if all && isGmail && !slices.ContainsFunc(there, func(m listed) bool { return m.is(`\all`) }) {
		notes = append(notes, "Gmail does not show the mailbox with all mail, only INBOX is collected for it: "+
			"let it be shown in IMAP in the settings of Gmail's labels")
		take(listed{name: inbox})
	}
	for _, m := range there {
		if m.is(`\noselect`, `\nonexistent`) {
			continue
		}
		worth := isGmail && m.is(`\all`) || !isGmail && !special(m, there)
		if all && worth || slices.ContainsFunc(c.Names, func(p string) bool {
			return p != account.AllMailboxes && matches(p, m.name, m.delimiter)
		}) {
			take(m)
		}
	}
	for _, n := range c.Names {
		if !isPattern(n) {
			take(listed{name: n})
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	if n := len(names); n > maxMailboxes {
		notes = append(notes, fmt.Sprintf("of %d mailboxes %d are collected, that is the most for one account", n, maxMailboxes))
		names = names[:maxMailboxes]
	}
	return names, notes
}

// rank puts INBOX before all others.
func rank(name string) int {
	if name == inbox {
		return 0
	}
	return 1
}

// special says whether a mailbox, or one above it, holds drafts, junk or trash, or whether it shows messages of
// others (RFC 6154 §2, RFC 8457 §4).
func special(m listed, there []listed) bool {
	if m.is(`\all`, `\flagged`, `\important`) {
		return true
	}
	return slices.ContainsFunc(there, func(above listed) bool {
		return above.is(`\drafts`, `\junk`, `\trash`) && (m.name == above.name ||
			above.delimiter != "" && strings.HasPrefix(m.name, above.name) && strings.HasPrefix(m.name[len(above.name):], above.delimiter))
	})
}

// listMailboxes asks for all mailboxes, with what they are for where the server says so (RFC 6154 §3).
func (s *session) listMailboxes(ctx context.Context) (*found, error) {
	ask := func(options *goimap.ListOptions) (*found, error) {
		f := &found{list: true}
		e := s.expect(noFetch, maxListed, 0)
		e.found = f
		return f, s.do(ctx, "imap list", e, func() error { return s.client.List("", "*", options).Close() })
	}
	if s.caps.Has(goimap.CapSpecialUse) {
		if f, err := ask(&goimap.ListOptions{ReturnSpecialUse: true}); err == nil || s.lethal(ctx, err) {
			return f, err
		}
	}
	return ask(nil)
}

// askDelimiter asks what parts the levels of names (RFC 9051 §6.3.9: a LIST of nothing).
func (s *session) askDelimiter(ctx context.Context) (string, error) {
	f := &found{list: true}
	e := chatter
	e.found = f
	err := s.do(ctx, "imap list", e, func() error { return s.client.List("", "", nil).Close() })
	if s.lethal(ctx, err) {
		return "", err
	}
	return f.delimiter, nil
}

// changed asks what became of the mailboxes that are known, and returns those that are to be listed with those
// that need not be, and what was known of those of which the new messages will do. A server that does not answer is not
// asked again: what it does not say is listed.
func (s *session) changed(ctx context.Context, names []string) (list []string, unchanged []remote.Mailbox, grown map[string]remote.Status, err error) {
	known, grown := make(map[string]remote.Status), make(map[string]remote.Status)
	var ask []string
	for _, n := range names {
		if s.known == nil {
			break
		}
		if st, ok := s.known(n); ok {
			known[n] = st
			ask = append(ask, n)
		}
	}
	said := make(map[string]remote.Status)
	for part := range slices.Chunk(ask, s.wire.limits.Pipeline) {
		if err := s.status(ctx, part, said); err != nil {
			return nil, nil, nil, err
		}
	}
	for _, n := range names {
		st := said[n]
		if st.UIDNext > 0 && st == known[n] {
			unchanged = append(unchanged, remote.Mailbox{Name: n, Status: st, Unchanged: true})
			continue
		}
		if s.onlyNew && known[n].Messages > 0 && st.Grew(known[n]) {
			grown[n] = known[n]
		}
		list = append(list, n)
	}
	return list, unchanged, grown, nil
}

// status asks about mailboxes, all at once (RFC 9051 §6.3.11).
func (s *session) status(ctx context.Context, names []string, said map[string]remote.Status) error {
	f := &found{status: make(map[string]remote.Status)}
	for _, n := range names {
		f.status[n] = remote.Status{}
	}
	e := s.expect(noFetch, len(names), 0)
	e.found = f
	refused := make(map[string]bool)
	err := s.do(ctx, "imap status", e, func() error {
		var first error
		commands := make([]*imapclient.StatusCommand, len(names))
		for i, n := range names {
			commands[i] = s.client.Status(n, &goimap.StatusOptions{UIDValidity: true, UIDNext: true, NumMessages: true})
		}
		for i, c := range commands {
			if _, err := c.Wait(); err != nil {
				refused[names[i]] = true
				if first == nil {
					first = err
				}
			}
		}
		return first
	})
	if s.lethal(ctx, err) {
		return err
	}
	for n, st := range f.status {
		if !refused[n] {
			said[n] = st
		}
	}
	return nil
}
