package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestSchedule has planner and control agree on when accounts are due: by their own schedule, their domain's and the
// global one, each taken at once when it is edited.
func TestSchedule(t *testing.T) {
	t.Parallel()
	acquire(t)
	h := newHouse(t, nil)
	h.destination("lmtp:127.0.0.1:1")
	h.start("planner")
	cli := h.control()
	secret := filepath.Join(h.dir, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"own", "domain", "global"} {
		domain := map[string]string{"domain": "night.example"}[name]
		if domain == "" {
			domain = "example.com"
		}
		cli.ok("account", "add", domain+"/"+name, "--protocol", "pop3", "--host", "127.0.0.1:1", "--username", name, "--password-file", secret,
			"--forward-to", name+"@example.com")
	}
	cli.ok("settings", "set", "schedule=at 05:15; at 17:15", "time_zone=Europe/Berlin")
	cli.ok("domain", "add", "night.example", "--schedule", "at 03:00", "--time-zone", "America/Santiago")
	cli.ok("account", "edit", "example.com/own", "--schedule", "every 7m")

	explain := func(ref string) (source string, starts []time.Time) {
		var out struct {
			Source string
			Starts []struct{ At time.Time }
		}
		if err := json.Unmarshal([]byte(cli.ok("schedule", "explain", ref, "--count", "3", "--json")), &out); err != nil {
			t.Fatal(err)
		}
		for _, s := range out.Starts {
			starts = append(starts, s.At)
		}
		return out.Source, starts
	}
	due := func(ref string) time.Time {
		var out struct {
			State struct {
				NextDueAt time.Time `json:"nextDueAt"`
			}
		}
		if err := json.Unmarshal([]byte(cli.ok("account", "show", ref, "--json")), &out); err != nil {
			t.Fatal(err)
		}
		return out.State.NextDueAt
	}
	for ref, source := range map[string]string{"example.com/own": "account", "night.example/domain": "domain", "example.com/global": "settings"} {
		got, starts := explain(ref)
		if got != source || len(starts) != 3 {
			t.Errorf("%s goes by the schedule of its %s, %v", ref, got, starts)
			continue
		}
		testenv.Eventually(t, 30*time.Second, ref+" is due when its schedule says", func() bool {
			_, starts := explain(ref)
			return due(ref).Sub(starts[0]).Abs() < time.Second
		})
	}
	if text := cli.ok("schedule", "explain", "night.example/domain"); !strings.Contains(text, "at 03:00") || !strings.Contains(text, "America/Santiago") {
		t.Errorf("schedule explain says\n%s", text)
	}
	// So are an edit that lets nobody run, the next one that does, and a least interval of accounts with a schedule of their own.
	cli.ok("domain", "edit", "night.example", "--schedule", "off")
	testenv.Eventually(t, 30*time.Second, "an account of a domain that is off is never due", func() bool { return due("night.example/domain").IsZero() })
	cli.ok("settings", "set", "min_interval=24h")
	testenv.Eventually(t, 30*time.Second, "the least interval is kept", func() bool {
		_, starts := explain("example.com/own")
		return due("example.com/own").Sub(starts[0]).Abs() < time.Second
	})
	cli.ok("settings", "set", "min_interval=0s")
	cli.ok("domain", "edit", "night.example", "--schedule", "every 1m")
	testenv.Eventually(t, 30*time.Second, "an account of the domain is due within a minute", func() bool {
		return time.Until(due("night.example/domain")) < 61*time.Second
	})
	cli.ok("account", "edit", "example.com/own", "--schedule", "off")
	testenv.Eventually(t, 30*time.Second, "an account that is off is never due", func() bool { return due("example.com/own").IsZero() })
	if text := cli.ok("schedule", "explain", "example.com/own"); !strings.Contains(text, "never run by itself") {
		t.Errorf("schedule explain says\n%s", text)
	}
	if text, err := cli.run("account", "edit", "example.com/own", "--schedule", "every 5"); err == nil || !strings.Contains(text, `"5"`) {
		t.Errorf("a bad entry: %v\n%s", err, text)
	}
}
