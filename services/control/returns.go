package control

import (
	"context"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/route"
)

// refuseOwn refuses an account whose mail would come back to its remote mailbox for certain. One that is switched off
// may be kept so, or nobody could switch it off.
func (s *Service) refuseOwn(ctx context.Context, a account.Account) error {
	if !a.Active {
		return nil
	}
	how, t, err := s.returns(ctx, a)
	if err != nil || how != route.CertainReturn {
		return err
	}
	return errField("forward_to", "%s is the remote mailbox itself (%s at %s), so that what is collected would come back to it: "+
		"forward to another address or mailbox, or collect from another one", fault.Clean(t), fault.Clean(a.Username), fault.Clean(a.Host))
}

// ownWarnings says what refuseOwn would refuse, and what is only likely: the account may have been saved before its destination
// was changed.
func (s *Service) ownWarnings(ctx context.Context, a account.Account) ([]string, error) {
	how, t, err := s.returns(ctx, a)
	if err != nil || how == route.NoReturn {
		return nil, err
	}
	sure := "may be"
	if how == route.CertainReturn {
		sure = "is"
	}
	return []string{"forward_to: " + fault.Clean(t) + " " + sure + " the remote mailbox itself: what is collected comes back to it then, " +
		"is not delivered a second time, and ends as a dead letter"}, nil
}

// returns says how sure it is that mail of the account comes back, and by which target.
func (s *Service) returns(ctx context.Context, a account.Account) (how route.Return, target string, err error) {
	all, err := a.Targets()
	if err != nil {
		return 0, "", errInvalid(err)
	}
	where := func(t account.Target) (string, error) { return s.Directory.DestinationFor(ctx, a.Domain, t) }
	for _, t := range all {
		r, err := route.Returns(a, t, where)
		if err != nil && fault.KindOf(err) != fault.DestinationTemporary { // there is none yet
			return 0, "", asError("destination", err)
		}
		if r > how {
			how, target = r, t.String()
		}
	}
	return how, target, nil
}
