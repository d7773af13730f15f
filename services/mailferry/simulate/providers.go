package simulate

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"regexp"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/budget"
	"github.com/mailferry/mailferry/pkg/fault"
)

// Provider is where a share of the accounts is.
type Provider struct {
	Name string `yaml:"name"`
	// Share of the accounts, in parts of those of all providers.
	Share float64 `yaml:"share"`
	// Hosts it has, or addresses that sessions come from: each has the budget for itself.
	Hosts int `yaml:"hosts"`
	// Sessions at a time and LoginsPerMinute, as in a budget; 0 bounds nothing, and what is not named is as in
	// account.DefaultBudget.
	Sessions        *int `yaml:"sessions"`
	LoginsPerMinute *int `yaml:"logins_per_minute"`
	// Session is how long a poll takes.
	Session Lengths `yaml:"session"`
	// MailPercent of the polls find mail, FaultPercent of the sessions break.
	MailPercent  float64  `yaml:"mail_percent"`
	FaultPercent float64  `yaml:"fault_percent"`
	Outages      []Outage `yaml:"outages"`
}

// Lengths are those of sessions: logarithms are normally distributed, one in two is shorter than P50 and one in twenty longer
// than P95. Without P95 all are P50.
type Lengths struct {
	P50 time.Duration `yaml:"p50"`
	P95 time.Duration `yaml:"p95"`
}

// Outage is when a provider does not answer, from the beginning of the simulation on.
type Outage struct {
	From  time.Duration `yaml:"from"`
	To    time.Duration `yaml:"to"`
	Fault string        `yaml:"fault"`
}

//go:embed providers.yaml
var defaultProviders []byte

// Sample is the text of the providers that are used where none are named.
func Sample() string { return string(defaultProviders) }

// Bounds of a file of providers.
const (
	maxProviders  = 32
	maxHosts      = math.MaxUint16
	maxBudget     = 1_000_000
	maxSession    = 2 * time.Hour // Config.RunLimit of a worker
	outageTimeout = "timeout"
	outageRefused = "refused"
)

// ReadProviders reads a file as [Sample] is one. Its errors say what is wanted.
func ReadProviders(text []byte) ([]Provider, error) {
	var file struct {
		Providers []Provider `yaml:"providers"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		return nil, fault.New(fault.Policy, "providers", err)
	}
	all := file.Providers
	if len(all) == 0 || len(all) > maxProviders {
		return nil, fault.Errorf(fault.Policy, "providers", "want 1 to %d", maxProviders)
	}
	hosts, seen := 0, map[string]bool{}
	for i := range all {
		p := &all[i]
		p.fill()
		err := p.validate()
		if seen[p.Name] {
			err = errors.New("it stands there twice")
		}
		if seen[p.Name] = true; err != nil {
			return nil, fault.New(fault.Policy, fmt.Sprintf("provider %q", fault.Clean(p.Name)), err)
		}
		hosts += p.Hosts
	}
	if hosts > maxHosts {
		return nil, fault.Errorf(fault.Policy, "providers", "they have %d hosts, at most %d", hosts, maxHosts)
	}
	return all, nil
}

func (p *Provider) fill() {
	p.Hosts = max(p.Hosts, 1)
	b := account.DefaultBudget
	if p.Sessions == nil {
		p.Sessions = &b.Sessions
	}
	if p.LoginsPerMinute == nil {
		p.LoginsPerMinute = &b.LoginsPerMinute
	}
	if p.Session.P95 == 0 {
		p.Session.P95 = p.Session.P50
	}
	for i := range p.Outages {
		if p.Outages[i].Fault == "" {
			p.Outages[i].Fault = outageRefused
		}
	}
}

var plainName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

func (p *Provider) validate() error {
	percent := func(f float64) bool { return f >= 0 && f <= 100 }
	switch {
	case !plainName.MatchString(p.Name):
		return errors.New("want a name of a-z, 0-9 and -")
	case !(p.Share > 0) || p.Share > 1e9: //nolint:staticcheck // and not NaN
		return errors.New("want a share above 0")
	case *p.Sessions < 0 || *p.Sessions > maxBudget || *p.LoginsPerMinute < 0 || *p.LoginsPerMinute > maxBudget:
		return fmt.Errorf("want sessions and logins_per_minute from 0 to %d", maxBudget)
	case p.Session.P50 < time.Millisecond || p.Session.P95 < p.Session.P50 || p.Session.P95 > maxSession:
		return fmt.Errorf("want a session like {p50: 400ms, p95: 2s}, of 1ms to %v", maxSession)
	case !percent(p.MailPercent) || !percent(p.FaultPercent):
		return errors.New("want mail_percent and fault_percent from 0 to 100")
	}
	for _, o := range p.Outages {
		if o.From < 0 || o.To <= o.From || o.Fault != outageRefused && o.Fault != outageTimeout {
			return errors.New("want outages like {from: 9h, to: 10h, fault: refused}, or timeout")
		}
	}
	return nil
}

// limit is the budget of one of its hosts.
func (p *Provider) limit() budget.Limit {
	return budget.Limit{Name: p.Name, Sessions: *p.Sessions, LoginsPerMinute: *p.LoginsPerMinute}
}

// lengths are so many quantiles of how long its sessions take.
const lengths = 1 << 10

func (p *Provider) table() (t [lengths]uint32) {
	const z95 = 1.6448536269514722
	sigma := math.Log(float64(p.Session.P95)/float64(p.Session.P50)) / z95
	for i := range t {
		z := math.Sqrt2 * math.Erfinv(2*(float64(i)+0.5)/lengths-1)
		d := time.Duration(float64(p.Session.P50) * math.Exp(sigma*z))
		t[i] = uint32(max(1, min(d, maxSession).Milliseconds()))
	}
	return t
}
