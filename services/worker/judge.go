package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/ledger"
	"github.com/mailferry/mailferry/pkg/remote"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// expiresSoon is how long before its end a certificate is warned about.
const expiresSoon = 21 * 24 * time.Hour

// connection tells what was seen of the server, also of a session that did not come to be.
func (p *probe) connection() {
	t := p.trace
	p.out.Address, p.out.Tls, p.out.Capabilities = t.Address, t.TLS, t.Capabilities
	switch {
	case t.TLS == "" || t.TLS == "none":
	case p.acc.TLS == account.Direct:
		p.out.TlsMode = "direct"
	case p.acc.Protocol == account.IMAP:
		p.out.TlsMode = "STARTTLS"
	default:
		p.out.TlsMode = "STLS"
	}
	if p.session != nil {
		p.out.Mechanism = p.session.Info().Mechanism
	}
	c := t.Certificate
	if c == nil {
		return
	}
	p.out.Certificate = &mailferryv1.Certificate{
		Subject: fault.Clean(c.Subject.String()), Issuer: fault.Clean(c.Issuer.String()), NotBefore: stamp(c.NotBefore), NotAfter: stamp(c.NotAfter),
		Pin: account.Pin(c),
	}
	for _, name := range c.DNSNames[:min(len(c.DNSNames), maxCertNames)] {
		p.out.Certificate.Names = append(p.out.Certificate.Names, fault.Clean(name))
	}
	for _, ip := range c.IPAddresses[:min(len(c.IPAddresses), maxCertNames)] {
		p.out.Certificate.Names = append(p.out.Certificate.Names, ip.String())
	}
}

// maxCertNames bounds the names of a certificate that are told.
const maxCertNames = 50

// judge says what the next run would fetch, and what would go at the remote server after it.
func (p *probe) judge(ctx context.Context) error {
	p.out.Messages, p.out.ListingNote = int64(len(p.listing.Items)), p.listing.Note
	for _, it := range p.listing.Items {
		p.out.Octets += max(it.Size, 0)
	}
	if err := p.name(ctx); err != nil {
		return err
	}
	if p.index.Counts().Marked > 0 {
		if err := p.askInFlight(ctx); err != nil {
			return err
		}
	}
	over, err := p.passedOver(ctx)
	if err != nil {
		return err
	}
	fresh := slices.DeleteFunc(p.mailbox().fresh(p.held), func(c candidate) bool { return over[handle(c.item)] })
	today, err := p.today(ctx)
	if err != nil {
		return err
	}
	take, large, left, _ := admitted(p.acc, today, fresh, p.w.cfg.Batch)
	p.notFetched(over, large, left)
	coming := make(map[itemHandle]bool, len(take))
	for _, c := range take {
		share(&p.out.Fetch, c.item, p.examples)
		coming[handle(c.item)] = true
	}
	return p.removal(ctx, coming)
}

// name gives names to what is listed; of messages that the server does not name, to a small number.
func (p *probe) name(ctx context.Context) error {
	nameless := p.nameListed()
	s, ok := p.session.(remote.HeaderReader)
	if !ok || len(nameless) == 0 || len(nameless) > maxNamed {
		return nil
	}
	n := &naming{r: p.run, at: make(map[itemHandle]int, len(p.listing.Items))}
	for i, it := range p.listing.Items {
		n.at[handle(it)] = i
	}
	return n.ask(ctx, nameless, s.Headers, remote.HeaderDigest, func(remote.Item, error) {})
}

// passedOver returns what an account that has not started yet would pass over when it does.
func (p *probe) passedOver(ctx context.Context) (map[itemHandle]bool, error) {
	if c := p.index.Counts(); c.Epoch != "" && c.Collected+c.Marked > 0 {
		return nil, nil
	}
	had, err := p.w.Directory.Collection(ctx, p.acc.UID)
	if err != nil || had.Epoch != "" && had.Epoch == p.index.Epoch() || !passesOver(p.acc, had.Epoch != "") {
		return nil, err
	}
	wanted, err := p.lastDays(ctx)
	over := make(map[itemHandle]bool, len(p.listing.Items))
	for _, it := range p.listing.Items {
		if !wanted[handle(it)] {
			over[handle(it)] = true
		}
	}
	return over, err
}

// notFetched counts by reason what the next run would not fetch.
func (p *probe) notFetched(over map[itemHandle]bool, large []candidate, left int) {
	known := make(map[ledger.Key]bool, len(p.keys))
	for i, k := range p.keys {
		why := ""
		switch state := p.index.State(k); {
		case k == "":
			why = "has no unique-id: a run tells it by its header or its body"
		case known[k]:
			why = "cannot be told from another message"
		case p.held[string(k)]:
			why = "on its way to the destination"
		case state == ledger.StateParked:
			why = "a dead letter (mailferry dead list)"
		case state == ledger.StateDeferred:
			why = "the destination refused it for now"
		case state == ledger.StateSkipped:
			why = "passed over for good"
		case state != ledger.StateNew:
			why = "collected already"
		case over[handle(p.listing.Items[i])]:
			why = "there before the account started"
		}
		known[k] = true
		tally(&p.out.NotFetched, why, 1)
	}
	instead := "passed over for good"
	if p.acc.Oversize == account.Notice {
		instead = "a notice comes in its place"
	}
	tally(&p.out.NotFetched, "larger than the account's limit: "+instead, int64(len(large)))
	tally(&p.out.NotFetched, "left for a later run by the account's limits", int64(left))
}

// removal says what would go at the remote server once what is coming is accepted, and why the others would stay.
func (p *probe) removal(ctx context.Context, coming map[itemHandle]bool) error {
	n := int64(len(p.listing.Items))
	switch {
	case !p.acc.After.Removes():
		tally(&p.out.Stay, "mail is left at the remote server", n)
		return nil
	case p.w.settings.Load().NoRemoteDeletion:
		tally(&p.out.Stay, "remote deletion is switched off (setting remote_deletion)", n)
		return nil
	}
	m, whole := p.mailbox(), p.listing.Whole()
	inPart := func(i int) bool { return !whole[p.listing.Items[i].Mailbox] }
	for i := range p.listing.Items {
		if inPart(i) {
			why := "the listing contradicts itself"
			if unnumbered(p.listing.Items[i]) {
				why = "the server gives their mailbox no UIDVALIDITY"
			}
			tally(&p.out.Stay, why, 1)
			n--
		}
	}
	collected := m.collected()
	then := slices.Clone(collected)
	for i, it := range p.listing.Items {
		if coming[handle(it)] {
			then = append(then, i)
		}
	}
	slices.Sort(then)
	then = slices.DeleteFunc(then, inPart)
	old, err := m.age(ctx, p.session, p.acc, then)
	if err != nil {
		return err
	}
	at := m.leaving(p.acc, then, old)
	for _, i := range at {
		share(&p.out.Remove, m.listing.Items[i], p.examples)
		if _, was := slices.BinarySearch(collected, i); was {
			p.out.RemoveCollected++
		}
	}
	among := len(m.older(then, p.acc.AfterKeepNewest))
	tally(&p.out.Stay, "not collected", n-int64(len(then)))
	tally(&p.out.Stay, fmt.Sprintf("among the newest %d", p.acc.AfterKeepNewest), int64(len(then)-among))
	tally(&p.out.Stay, "neither old nor large enough", int64(among-len(at)))
	return nil
}

// share adds a message to a part of the mailbox.
func share(s **mailferryv1.TestShare, it remote.Item, examples int) {
	if *s == nil {
		*s = &mailferryv1.TestShare{}
	}
	(*s).Messages++
	(*s).Octets += max(it.Size, 0)
	if len((*s).Examples) < examples {
		(*s).Examples = append((*s).Examples, &mailferryv1.TestMessage{
			Number: int32(it.Number), Mailbox: fault.Clean(it.Mailbox), Uid: it.UID, Size: it.Size,
		})
	}
}

// tally adds to the messages of a reason.
func tally(to *[]*mailferryv1.TestCount, why string, n int64) {
	if why == "" || n == 0 {
		return
	}
	at := slices.IndexFunc(*to, func(c *mailferryv1.TestCount) bool { return c.GetWhy() == why })
	if at < 0 {
		at = len(*to)
		*to = append(*to, &mailferryv1.TestCount{Why: why})
	}
	(*to)[at].Messages += n
}

// warn says what an owner should know although it works.
func (p *probe) warn() {
	warn := func(is bool, format string, args ...any) {
		if is {
			p.out.Warnings = append(p.out.Warnings, fmt.Sprintf(format, args...))
		}
	}
	a, info := p.acc, p.session.Info()
	plain := info.TLS == "none"
	warn(plain, "the session is not encrypted: whoever is on the way can read the mail")
	warn(plain && slices.Contains([]string{"password command", "PLAIN", "LOGIN"}, info.Mechanism), "the password goes over the network in plain text")
	warn(info.Mechanism == "APOP", "APOP rests on MD5 and is weak: better sign in within TLS")
	warn(a.TLSAllowInvalid && !plain, "any certificate is taken: whoever is on the way can pretend to be the server")
	if c := p.trace.Certificate; c != nil && len(a.TLSPins) == 0 && !a.TLSAllowInvalid {
		warn(time.Until(c.NotAfter) < expiresSoon, "the server's certificate expires on %s", c.NotAfter.UTC().Format(time.DateOnly))
	}
	warn(!p.listing.Complete && len(p.listing.Notes) == 0, "the listing contradicts itself, so that nothing is deleted or forgotten: %s", p.listing.Note)
	for _, n := range p.listing.Notes {
		warn(true, "%s", n)
	}
	p.warnNames(warn)
	warn(info.Consumes, "the server drops messages once they were fetched: a session ends in order only when all of it was accepted")
	interval := a.Interval
	if interval == 0 {
		interval = p.w.settings.Load().Interval
	}
	warn(info.LoginDelay > interval, "the server wants %s between two sessions: the account is fetched no more often than that", fault.Span(info.LoginDelay))
	p.warnRemoval(warn)
	warn(p.saved && !a.Active, "the account is not active: it is not fetched")
}

func (p *probe) warnNames(warn func(bool, string, ...any)) {
	if p.acc.Protocol != account.POP3 {
		warn(slices.ContainsFunc(p.listing.Items, unnumbered), "the server gives a mailbox no UIDVALIDITY: its messages are told apart by their headers, "+
			"which are read in every run, and none is deleted, moved or marked there")
		return
	}
	n, all := 0, len(p.listing.Items)
	for _, it := range p.listing.Items {
		if it.UniqueID == "" {
			n++
		}
	}
	warn(n > 0 && n == all, "the server gives no unique-ids (UIDL): messages are told apart by their headers, which are read in every run")
	warn(n > 0 && n < all, "%d messages have no unique-id of their own: they are told apart by their headers, which are read in every run", n)
}

func (p *probe) warnRemoval(warn func(bool, string, ...any)) {
	a := p.acc
	has := func(name string) bool {
		return slices.ContainsFunc(p.trace.Capabilities, func(c string) bool { return strings.EqualFold(c, name) })
	}
	rev2 := has("IMAP4rev2")
	warn(a.Protocol == account.IMAP && a.After == account.Delete && !rev2 && !has("UIDPLUS"),
		"the server has no UIDPLUS: messages are deleted only while nobody else has flagged some there as \\Deleted")
	warn(a.After == account.Move && !rev2 && !has("MOVE"), "the server has no MOVE: messages are copied, and the originals deleted")
	warn(a.After.Removes() && p.w.settings.Load().NoRemoteDeletion, "remote deletion is switched off for all (setting remote_deletion)")
}
