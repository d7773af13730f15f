package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// reportEvery is how often a bulk fetch says how far it is where there is no terminal.
const reportEvery = 10 * time.Second

func (c *FetchCmd) fetchMany(ctx context.Context, env *Env, to *clients) error {
	total := &mailferryv1.FetchManyResponse{}
	show := &crowd{env: env, last: env.Now()}
	stream, err := to.runs.FetchMany(ctx, &mailferryv1.FetchManyRequest{Domain: c.Domain, Wait: c.Wait, Failing: c.Failing, Label: c.Label})
	err = each(to, stream, err, func(r *mailferryv1.FetchManyResponse) error {
		total = r
		if c.JSON {
			return printJSON(env.Stdout, r)
		}
		show.show(r, c.Wait)
		return nil
	})
	show.close()
	if err != nil {
		return err
	}
	if !c.JSON {
		_, _ = fmt.Fprintln(env.Stdout, c.totals(total))
	}
	if total.GetFailed() > 0 {
		if c.JSON {
			return errReported
		}
		return &failure{"", count(total.GetFailed(), "account") + " failed", "see the lines above, or 'mailferry runs DOMAIN/NAME'"}
	}
	return nil
}

func (c *FetchCmd) totals(t *mailferryv1.FetchManyResponse) string {
	if t.GetAccounts() == 0 && c.Failing {
		return "no account's last run failed"
	}
	if t.GetAccounts() == 0 {
		return "there are no active accounts to fetch"
	}
	if !c.Wait {
		return fmt.Sprintf("triggered %d of %s", t.GetTriggered(), count(t.GetAccounts(), "account"))
	}
	return fmt.Sprintf("%s: %d ok, %d failed; %s fetched, %d delivered, %s", count(t.GetAccounts(), "account"),
		t.GetFinished()-t.GetFailed(), t.GetFailed(), count(t.GetFetched(), "message"), t.GetDelivered(), size(t.GetBytes()))
}

// crowd shows many runs: a line for each that failed, and how far all are.
type crowd struct {
	env  *Env
	last time.Time
	bar  *progressbar.ProgressBar
}

func (s *crowd) show(r *mailferryv1.FetchManyResponse, wait bool) {
	if rep := r.GetReport(); rep.GetFault() != nil {
		s.close()
		printError(s.env, errFault("account "+rep.GetDomain()+"/"+rep.GetName(), rep.GetFault()))
	}
	if r.GetAccounts() == 0 || !wait && r.GetHeld() == 0 {
		return
	}
	far := fmt.Sprintf("%d of %s, %s", r.GetFinished(), count(r.GetAccounts(), "account"), count(r.GetFetched(), "message"))
	if r.GetHeld() > 0 {
		far += "; more wait, since their domain has used up its triggers for now"
	}
	if s.env.Terminal {
		if s.bar == nil {
			s.bar = newBar(s.env, max(r.GetAccounts(), 1), far)
		}
		s.bar.ChangeMax64(max(r.GetAccounts(), r.GetFinished()+1))
		s.bar.Describe(far)
		_ = s.bar.Set64(r.GetFinished())
		return
	}
	if now := s.env.Now(); now.Sub(s.last) >= reportEvery {
		s.last = now
		_, _ = fmt.Fprintln(s.env.Stdout, far)
	}
}

func (s *crowd) close() {
	if s.bar != nil {
		_ = s.bar.Clear()
		s.bar = nil
	}
}
