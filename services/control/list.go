package control

import (
	"context"
	"slices"
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// ListAccounts answers a page of accounts in the order of their domains and names, with their states.
func (s *Service) ListAccounts(ctx context.Context, req *mailferryv1.ListAccountsRequest) (*mailferryv1.ListAccountsResponse, error) {
	domain, err := domainName(req.GetDomain(), true)
	if err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	if size < 0 || size > maxPage {
		return nil, errField("page_size", "want 1 to %d", maxPage)
	}
	if size == 0 {
		size = defaultPage
	}
	after, err := readPageToken(req.GetPageToken())
	if err != nil {
		return nil, err
	}
	label, err := labelName(req.GetLabel())
	if err != nil {
		return nil, err
	}
	page, more, err := s.page(ctx, domain, label, after, size)
	if err != nil {
		return nil, asError("accounts", err)
	}
	out := &mailferryv1.ListAccountsResponse{}
	for _, a := range page {
		out.Accounts = append(out.Accounts, public(a))
	}
	if out.States, err = s.states(ctx, page); err != nil {
		return nil, asError("accounts", err)
	}
	if more {
		out.NextPageToken = pageToken(page[len(page)-1])
	}
	return out, nil
}

// page returns the first accounts after the one a token names, and whether there are more. The directory
// yields them in any order, so the page is chosen in one pass, in memory of one page.
func (s *Service) page(ctx context.Context, domain, label string, after account.Account, size int) (page []account.Account, more bool, err error) {
	page = make([]account.Account, 0, size+1)
	for a, err := range s.Directory.Accounts(ctx, domain) {
		if err != nil {
			return nil, false, err
		}
		if after.Name != "" && byName(a, after) <= 0 || !a.HasLabel(label) {
			continue
		}
		if len(page) > size && byName(a, page[size]) > 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(page, a, byName)
		page = slices.Insert(page, at, a)
		page = page[:min(len(page), size+1)]
	}
	if len(page) > size {
		return page[:size], true, nil
	}
	return page, false, nil
}

// labelName returns the label that is asked for, "" for any.
func labelName(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return s, asField(account.ValidateLabel("label", s))
}

// byName orders accounts by domain, then by name.
func byName(a, b account.Account) int {
	if c := strings.Compare(a.Domain, b.Domain); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}
