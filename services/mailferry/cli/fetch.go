package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/schollz/progressbar/v3"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// FetchCmd triggers runs ("Connect Now").
type FetchCmd struct {
	Client `embed:""`

	Ref     *Ref   `arg:"" optional:"" name:"domain/name" help:"The account: triggers it and shows the run until it has ended."`
	Domain  string `xor:"what" help:"Trigger the active accounts of a domain."`
	All     bool   `xor:"what" help:"Trigger all active accounts."`
	Label   string `placeholder:"LABEL" help:"Trigger the active accounts with a label; with --domain: those of the domain."`
	Failing bool   `help:"With --domain, --label or --all: only those whose last run failed."`
	Wait    bool   `help:"With --domain, --label or --all: wait until each has ended a run."`
}

// Help shows examples.
func (*FetchCmd) Help() string {
	return `Examples:
  mailferry fetch example.com/gmail-alice       one account, live
  mailferry fetch --domain example.com --wait   all of a domain, until the last run has ended
  mailferry fetch --label vip --wait            all with a label, of whatever domain
  mailferry fetch --all                         trigger all and return
  mailferry fetch --all --failing --wait        try again what failed, for instance after a server is back
  mailferry fetch example.com/isp --json        one JSON object a line

A domain has 1,200 triggers a minute (control --triggers-per-minute); more wait until it has some again.
Mail is done when its destination accepted it. Interrupting the command does not stop a run.
Exit code 1 if a run failed.`
}

// Run fetches one account or many.
func (c *FetchCmd) Run(ctx context.Context, env *Env) error {
	many := c.Domain != "" || c.Label != "" || c.All
	switch {
	case c.Ref == nil && !many:
		return usage("fetch what? Name an account as DOMAIN/NAME, or --domain DOMAIN, --label LABEL or --all")
	case c.Ref != nil && many:
		return usage("fetch takes an account, or --domain and --label, or --all: only one of them")
	case c.Ref != nil && c.Wait:
		return usage("--wait goes with --domain, --label or --all; the run of one account is always waited for")
	case c.Ref != nil && c.Failing:
		return usage("--failing goes with --domain, --label or --all")
	}
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	if many {
		return c.fetchMany(ctx, env, to)
	}
	return c.fetchOne(ctx, env, to)
}

// each calls do for each message of a stream.
func each[T any](to *clients, stream *connect.ServerStreamForClient[T], err error, do func(*T) error) error {
	if err != nil {
		return to.caller.unreachable(err)
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		if err := do(stream.Msg()); err != nil {
			return err
		}
	}
	return to.caller.unreachable(stream.Err())
}

func (c *FetchCmd) fetchOne(ctx context.Context, env *Env, to *clients) error {
	var show shower = &plain{env: env, ref: c.Ref.String()}
	if env.Terminal {
		show = &bar{env: env, ref: c.Ref.String()}
	}
	var last *mailferryv1.RunReport
	stream, err := to.runs.Fetch(ctx, &mailferryv1.FetchRequest{Ref: c.Ref.proto()})
	err = each(to, stream, err, func(r *mailferryv1.FetchResponse) error {
		if r.GetProgress().GetPhase() == mailferryv1.Phase_PHASE_DONE {
			last = r.GetProgress().GetReport()
		}
		if c.JSON {
			return printJSON(env.Stdout, r)
		}
		show.show(r)
		return nil
	})
	show.close()
	switch {
	case err != nil:
		return err
	case last == nil:
		return &failure{"network", "account " + c.Ref.String() + ": the answer ended before the run did", "see 'mailferry runs " + c.Ref.String() + "'"}
	}
	if !c.JSON {
		_, _ = fmt.Fprintf(env.Stdout, "%s: %s\n", c.Ref, summary(last))
	}
	return errFault("account "+c.Ref.String(), last.GetFault())
}

// summary says in a line what a run did.
func summary(r *mailferryv1.RunReport) string {
	s := "done"
	if r.GetFault() != nil {
		s = "failed"
	}
	if r.GetListed() > 0 || r.GetNew() > 0 || r.GetFault() == nil {
		s += fmt.Sprintf(": %d listed, %d new, %d fetched, %d delivered", r.GetListed(), r.GetNew(), r.GetFetched(), r.GetDelivered())
		if by := tiersOf(r); by != "" {
			s += " (" + by + ")"
		}
	}
	if r.GetDeleted() > 0 {
		s += fmt.Sprintf(", %d deleted at the remote", r.GetDeleted())
	}
	if r.GetMoved() > 0 {
		s += fmt.Sprintf(", %d moved at the remote", r.GetMoved())
	}
	if r.GetSkipped() > 0 {
		s += fmt.Sprintf(", %d too large", r.GetSkipped())
	}
	if r.GetMatched() > 0 {
		s += fmt.Sprintf(", %d known again", r.GetMatched())
	}
	if r.GetLeft() > 0 {
		s += fmt.Sprintf(", %d left for the next run", r.GetLeft())
	}
	if r.GetFailed() > 0 {
		s += fmt.Sprintf(", %d passed over", r.GetFailed())
	}
	if r.GetBytes() > 0 {
		s += ", " + size(r.GetBytes())
	}
	if t := took(r); t != "" {
		s += " in " + t
	}
	for _, note := range r.GetNotes() {
		s += "; " + oneLine(note)
	}
	if n := r.GetFetched() - r.GetDelivered(); n > 0 && r.GetFault() == nil {
		s += fmt.Sprintf("; %d are on their way: the destination has not accepted them yet (see the log of delivery, 'mailferry status')", n)
	}
	return s
}

// tiersOf says what decided who gets the messages of a run, "" where Forward to got all of them.
func tiersOf(r *mailferryv1.RunReport) string {
	var by []string
	for _, tier := range slices.Sorted(maps.Keys(r.GetTiers())) {
		by = append(by, fmt.Sprintf("%d by %s", r.GetTiers()[tier], oneLine(tier)))
	}
	if len(by) == 1 && r.GetTiers()["forward-to"] > 0 && r.GetDiscarded()+r.GetDuplicates() == 0 {
		return ""
	}
	if n := r.GetDiscarded(); n > 0 {
		by = append(by, fmt.Sprintf("%d discarded", n))
	}
	if n := r.GetDuplicates(); n > 0 {
		by = append(by, count(n, "double"))
	}
	return strings.Join(by, ", ")
}

// phrase says in a few words where a run is.
func phrase(p *mailferryv1.Progress) string {
	switch p.GetPhase() {
	case mailferryv1.Phase_PHASE_QUEUED:
		return "queued"
	case mailferryv1.Phase_PHASE_COALESCED:
		return "joined the run that is going on"
	case mailferryv1.Phase_PHASE_CONNECTING:
		return "connecting"
	case mailferryv1.Phase_PHASE_LISTED:
		return fmt.Sprintf("listed: %d new", p.GetNew())
	case mailferryv1.Phase_PHASE_FETCHING:
		return fmt.Sprintf("fetched %d of %d, %s, %d delivered", p.GetFetched(), p.GetNew(), size(p.GetBytes()), p.GetDelivered())
	case mailferryv1.Phase_PHASE_DELIVERING:
		return fmt.Sprintf("delivered %d of %d", p.GetDelivered(), p.GetFetched())
	default:
		return ""
	}
}

// shower shows a run while it lasts; its end is shown by the command.
type shower interface {
	show(r *mailferryv1.FetchResponse)
	close()
}

// plain prints a line a phase, and one a second at most within a phase.
type plain struct {
	env   *Env
	ref   string
	phase mailferryv1.Phase
	at    time.Time
}

func (p *plain) show(r *mailferryv1.FetchResponse) {
	now, phase := p.env.Now(), r.GetProgress().GetPhase()
	if r.GetNote() == "" && phase == p.phase && now.Sub(p.at) < time.Second {
		return
	}
	p.phase, p.at = phase, now
	text := phrase(r.GetProgress())
	if r.GetNote() != "" {
		text = oneLine(r.GetNote())
	}
	if text != "" {
		_, _ = fmt.Fprintf(p.env.Stdout, "%s: %s\n", p.ref, text)
	}
}

func (p *plain) close() {}

// bar draws a progress bar on a terminal.
type bar struct {
	env *Env
	ref string
	bar *progressbar.ProgressBar
}

func newBar(env *Env, total int64, what string) *progressbar.ProgressBar {
	options := []progressbar.Option{
		progressbar.OptionSetWriter(env.Stdout), progressbar.OptionSetDescription(what),
		progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetWidth(30), progressbar.OptionUseANSICodes(true), progressbar.OptionClearOnFinish(),
		progressbar.OptionThrottle(50 * time.Millisecond),
		// A spinner that turns by itself is a goroutine that nobody ends.
		progressbar.OptionSpinnerType(14), progressbar.OptionSetSpinnerChangeInterval(0),
	}
	if total > 0 {
		options = append(options, progressbar.OptionShowCount())
	}
	return progressbar.NewOptions64(total, options...)
}

func (b *bar) show(r *mailferryv1.FetchResponse) {
	p := r.GetProgress()
	if p.GetPhase() == mailferryv1.Phase_PHASE_DONE {
		return
	}
	if r.GetNote() != "" {
		b.close()
		_, _ = fmt.Fprintf(b.env.Stdout, "%s: %s\n", b.ref, oneLine(r.GetNote()))
	}
	if b.bar == nil {
		b.bar = newBar(b.env, -1, b.ref)
	}
	if p.GetNew() > 0 && b.bar.GetMax64() != p.GetNew() {
		_ = b.bar.Clear()
		b.bar = newBar(b.env, p.GetNew(), b.ref)
	}
	b.bar.Describe(b.ref + ": " + phrase(p))
	if p.GetNew() > 0 {
		// A message is done when it is delivered; one less keeps the bar until the report is there.
		_ = b.bar.Set64(min(max(p.GetFetched(), p.GetDelivered()), p.GetNew()-1))
	}
}

func (b *bar) close() {
	if b.bar != nil {
		_ = b.bar.Clear()
		b.bar = nil
	}
}
