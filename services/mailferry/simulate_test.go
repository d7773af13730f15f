package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/services/mailferry/cli"
)

// simulated runs the command line within the test.
func simulated(args ...string) (code int, out, errors string) {
	var o, e bytes.Buffer
	env := cli.OSEnv()
	env.Stdout, env.Stderr = &o, &e
	code = run(append([]string{"simulate"}, args...), newTerminal(os.Stdout, os.Stderr), env)
	return code, o.String(), e.String()
}

func TestSimulateWritesItsFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	_, sample, _ := simulated("--sample")
	file := filepath.Join(t.TempDir(), "providers.yaml")
	if err := os.WriteFile(file, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := simulated("--accounts", "2000", "--duration", "10m", "--providers", file, "--out", dir)
	if code != 0 || !strings.Contains(out, "lag        p50 1") || !strings.Contains(out, "google") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	csv, err := os.ReadFile(filepath.Join(dir, "simulate.csv"))
	if lines := strings.Split(strings.TrimSpace(string(csv)), "\n"); err != nil || len(lines) != 11 || !strings.HasPrefix(lines[0], "minute,due,") || !strings.Contains(lines[0], ",sessions_google,") {
		t.Errorf("%v\n%s", err, csv)
	}
	if png, err := os.ReadFile(filepath.Join(dir, "simulate.png")); err != nil || !bytes.HasPrefix(png, []byte("\x89PNG")) {
		t.Error(err)
	}
}

func TestSimulateSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--accounts 0":                    "accounts",
		"--workers 0":                     "workers",
		"--duration 90s":                  "whole minutes",
		"--providers /nowhere":            "no such file",
		"--schedule every":                "want for instance",
		"--interval 1s":                   "an interval of",
		"--planner-rate 0":                "rate of planners",
		"--out /dev/null/x --accounts 10": "not a directory",
	} {
		if code, _, errs := simulated(strings.Fields(args)...); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s", args, code, errs)
		}
	}
}
