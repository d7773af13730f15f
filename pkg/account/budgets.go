package account

import (
	"net/netip"
	"strconv"
	"strings"
)

// Budgets says what the fleet may do at remote hosts: entries between commas, NAME=SESSIONS/LOGINS or
// NAME=SESSIONS/LOGINS/OCTETS, the sessions at a time, the logins a minute and the octets that are fetched in a day (UTC), as
// [ParseOctets] takes them; 0 bounds nothing, as do octets that are left out. NAME is a host, a provider of the table (all its hosts have one budget), or *
// for each host or provider that is not named. "google=200/3000/2TB, mail.example.net=10/60".
type Budgets string

// Budget is what one entry allows.
type Budget struct {
	Sessions, LoginsPerMinute int
	OctetsPerDay              int64
}

// DefaultBudget is that of hosts and providers that no entry names.
var DefaultBudget = Budget{Sessions: 200, LoginsPerMinute: 6000}

// maxBudgets bounds the text in bytes, maxBudget each of its numbers.
const maxBudgets, maxBudget = 16 << 10, 1_000_000

// For returns the budget of a host and what it is for: the host where an entry names it, else its provider, "" if it is
// none that is known, else the host. A loopback host that is not named has none.
func (b Budgets) For(host, provider string) (name string, budget Budget) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	name = host
	if provider != "" {
		name = provider
	}
	budget = DefaultBudget
	if a, err := netip.ParseAddr(host); host == "localhost" || err == nil && a.IsLoopback() {
		budget = Budget{}
	}
	entries, err := b.parse()
	if err != nil { // it was checked when it was saved
		return name, budget
	}
	for _, key := range []string{host, provider} {
		if found, ok := entries[key]; ok && key != "" {
			return key, found
		}
	}
	if found, ok := entries["*"]; ok && budget != (Budget{}) {
		budget = found
	}
	return name, budget
}

// Validate says what of the text is no budget.
func (b Budgets) Validate() error {
	_, err := b.parse()
	return err
}

func (b Budgets) parse() (map[string]Budget, error) {
	const field = "budgets"
	if len(b) > maxBudgets {
		return nil, invalid(field, "is longer than %d bytes", maxBudgets)
	}
	out := map[string]Budget{}
	if strings.TrimSpace(string(b)) == "" {
		return out, nil
	}
	for text := range strings.SplitSeq(string(b), ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(text), "=")
		sessions, logins, both := strings.Cut(value, "/")
		logins, size, bounded := strings.Cut(logins, "/")
		octets, err3 := int64(0), error(nil)
		if bounded {
			octets, err3 = ParseOctets(size)
		}
		s, err1 := strconv.Atoi(sessions)
		l, err2 := strconv.Atoi(logins)
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || !both || name == "" || strings.ContainsAny(name, " {}/") || err1 != nil || err2 != nil || err3 != nil || s < 0 || l < 0 || s > maxBudget || l > maxBudget {
			return nil, invalid(field, "%q is not a budget like google=200/3000 or google=200/3000/500GB: a host, a provider or *, the sessions at a time, the logins a minute and the octets a day", strings.TrimSpace(text))
		}
		if _, twice := out[name]; twice {
			return nil, invalid(field, "%s stands there twice", name)
		}
		out[name] = Budget{s, l, octets}
	}
	return out, nil
}
