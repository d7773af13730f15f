package control

import (
	"slices"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/directory"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// maxDomains bounds the local and the alias domains of a domain.
const maxDomains = 200

// mailOf takes over what a domain says of its accounts' mail.
func mailOf(p *mailferryv1.Domain, d *directory.Domain) error {
	var err error
	if d.LocalDomains, err = domainNames("local_domains", p.GetLocalDomains()); err != nil {
		return err
	}
	if d.AliasDomains, err = domainNames("alias_domains", p.GetAliasDomains()); err != nil {
		return err
	}
	for _, name := range d.AliasDomains {
		if name == d.Name || slices.Contains(d.LocalDomains, name) {
			return errField("alias_domains", "%s is local itself: an address of it cannot stand for another", name)
		}
	}
	d.ReceivedBy, d.ClientAddress = p.GetReceivedBy(), account.ClientAddressFromProto(p.GetClientAddress())
	if err := account.ValidateReceivedBy(d.ReceivedBy); err != nil {
		return asField(err)
	}
	d.Rules = account.RulesFromProto(p.GetRules())
	return asField(account.ValidateRules(d.Rules))
}

func domainNames(field string, names []string) ([]string, error) {
	if len(names) > maxDomains {
		return nil, errField(field, "want at most %d", maxDomains)
	}
	var out []string
	for _, n := range names {
		name, err := domainName(n, false)
		if err != nil {
			return nil, errField(field, "%q is not a domain", n)
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out, nil
}
