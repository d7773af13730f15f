package route_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// peer is another collector that judges cases of the corpus.
type peer struct {
	name string
	// group returns the part of its configuration that a case needs, "" where its rules have no such thing.
	group func(headerCase) string
	// run collects the maildrop of a user under that configuration; each message goes through the recorder.
	run func(t *testing.T, d *testenv.Dovecot, user, group, recorder string)
	// differs are the cases that it judges otherwise, and why: see PEERS.md.
	differs map[string]string
}

// TestPeers runs the corpus through fetchmail and getmail, as far as their rules are ours, on a real maildrop: they find
// the same recipients, but for the differences that are written down. It is run by hand, with MAILFERRY_PEERS=1: programs
// of others are not what a change of ours is to wait for.
func TestPeers(t *testing.T) {
	t.Parallel()
	if os.Getenv("MAILFERRY_PEERS") == "" {
		t.Skip("set MAILFERRY_PEERS=1 to compare with fetchmail and getmail")
	}
	all := corpus(t)
	for _, p := range []peer{fetchmail, getmail(all)} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(p.name); err != nil {
				t.Skip(p.name + " is not installed: its judgement is not compared")
			}
			comparePeer(t, p, all)
		})
	}
}

func comparePeer(t *testing.T, p peer, all []headerCase) {
	t.Helper()
	d := testenv.NewDovecot(t)
	groups := map[string][]int{}
	for i, c := range all {
		if g := p.group(c); g != "" {
			groups[g] = append(groups[g], i)
		}
	}
	judged, differ := 0, 0
	for g, cases := range groups {
		user := fmt.Sprintf("group%d", cases[0])
		for _, i := range cases {
			d.Append(user, []byte(fmt.Sprintf("X-Case: %d\n%s\nbody\n", i, all[i].header)))
		}
		out := testenv.TempDir(t)
		recorder := filepath.Join(out, "recorder.sh")
		script := "#!/bin/sh\nout=$(mktemp " + out + "/got.XXXXXX)\n{ printf '%s\\n' \"$@\"; echo; cat; } > \"$out\"\n"
		if err := os.WriteFile(recorder, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		p.run(t, d, user, g, recorder)
		got := recorded(t, out)
		for _, i := range cases {
			c := all[i]
			name := c.file + "/" + c.name
			judged++
			same := slices.Equal(got[i], folded(c.want))
			if why := p.differs[c.name]; why != "" {
				differ++
				if same {
					t.Errorf("%s: judged as we do, though it is said to differ: %s", name, why)
				}
			} else if !same {
				t.Errorf("%s (%s): %v, we have %v", name, g, got[i], folded(c.want))
			}
		}
	}
	t.Logf("%s judged %d cases of %d, %d of them otherwise", p.name, judged, len(all), differ)
	if judged < 50 || differ != len(p.differs) {
		t.Errorf("%d cases were compared, %d of %d differences met", judged, differ, len(p.differs))
	}
}

// folded sorts addresses and takes out what differs by case only.
func folded(list []string) []string {
	out := []string{}
	for _, s := range list {
		out = append(out, strings.ToLower(s))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// recorded returns who got which case; who is not local stands for nobody.
func recorded(t *testing.T, dir string) map[int][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "got.*"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[int][]string{}
	number := regexp.MustCompile(`(?m)^X-Case: (\d+)\r?$`)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		to, message, _ := bytes.Cut(content, []byte("\n\n"))
		m := number.FindSubmatch(message)
		if m == nil {
			t.Fatalf("a message without its number:\n%s", message)
		}
		i, _ := strconv.Atoi(string(m[1]))
		for _, a := range strings.Fields(string(to)) {
			if strings.Contains(a, "@") {
				got[i] = append(got[i], a)
			}
		}
		got[i] = folded(got[i])
	}
	return got
}

// plain says whether a case asks for nothing that only we know.
func plain(c headerCase) bool {
	r := c.account.Recipients
	return r.Mode == account.FromHeaders && len(r.StripPrefixes)+len(r.Rewrites)+len(r.Match) == 0 && !r.Resent && r.Received == "" &&
		!strings.HasPrefix(c.header, "\n") && !regexp.MustCompile(`(?i)example\.net|old\.example|bücher|xn--|^>?From |^ |[\x00-\x08\x0b\x0c\x0e-\x1f]`).MatchString(c.header)
}

func command(t *testing.T, dir string, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir, "FETCHMAILHOME="+dir, "LC_ALL=C.UTF-8")
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func rcFile(t *testing.T, dir, text string) string {
	t.Helper()
	file := filepath.Join(dir, "rc")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

var fetchmail = peer{
	name: "fetchmail",
	group: func(c headerCase) string {
		r := c.account.Recipients
		tier, _, _ := strings.Cut(c.tier, " ")
		switch {
		case !plain(c):
		case r.Header != "" && r.HeaderIndex > 0 && tier == "header":
			return fmt.Sprintf("envelope %d %q", r.HeaderIndex-1, r.Header)
		case len(r.ReceivedBy) == 1 && tier == "received" && !strings.ContainsAny(r.ReceivedBy[0], "*["):
			return fmt.Sprintf("envelope \"Received\" aka %s", r.ReceivedBy[0])
		case r.ToCc && len(r.ReceivedBy) == 0 && r.Header == "" && (tier == "to-cc" || tier == "none"):
			return "no envelope"
		}
		return ""
	},
	run: func(t *testing.T, d *testenv.Dovecot, user, group, recorder string) {
		t.Helper()
		dir := filepath.Dir(recorder)
		rc := rcFile(t, dir, fmt.Sprintf(`set no bouncemail
set no spambounce
set postmaster "nobody"
poll %s service %d protocol POP3 %s no dns localdomains example.com shop.example.org
  user %q password %q sslproto "" to * here fetchall no rewrite mda "%s %%T"
`, d.Address, d.POP3Port, group, user, d.Password, recorder))
		command(t, dir, "fetchmail", "-f", rc, "--nodetach", "--nosyslog", "--silent")
	},
	differs: reasons(map[string][]string{
		"Resent-* always go before To":         {"resent: not asked for"},
		"takes the name of a group along":      {"a group", "a group and addresses around it"},
		"passes over the whole field":          {"a group with a quoted name", "comments everywhere", "single quotes around an address", "single quotes in a display name and around the address", "a semicolon in place of the comma", "the opening bracket is missing", "a quote that never ends", "a comment that never ends", "a dot at the end of the domain"},
		"keeps quotes and escapes":             {"a quoted local part that needs no quotes", "a quoted local part with an escape that needs none", "a quoted local part with an at sign"},
		"takes a part of a quoted string":      {"a quoted local part with a space cannot be handed over"},
		"takes the CR out":                     {"a bare CR in the middle of an address"},
		"keeps the source route":               {"a source route"},
		"changes what its shell might take":    {"odd characters that are allowed"},
		"takes any octets for a local part":    {"an encoded word as local part is no address", "raw Latin-1 in an address", "two at signs", "no local part", "a backslash in the address", "mailto"},
		"gives up the first of the two":        {"the closing bracket is missing, another address follows"},
		"joins words":                          {"words before a bare address", "two bare addresses without a comma are not taken apart"},
		"takes both":                           {"two addresses in brackets without a comma: the last is the address"},
		"believes the client's name of itself": {"a HELO that speaks of by and for", "a HELO in a comment that speaks of by and for"},
		"knows by and for in lower case only":  {"upper case words"},
		"takes the first":                      {"for with two addresses"},
		"takes the dot for a part of the name": {"a host with a dot at its end"},
	}),
}

func getmail(all []headerCase) peer {
	var known []string
	for _, c := range all {
		for _, a := range folded(c.want) {
			if account.ValidateAddress("", a) == nil && !strings.ContainsAny(a, "'%|") { // can stand in its configuration
				known = append(known, a)
			}
		}
	}
	slices.Sort(known)
	known = slices.Compact(known)
	return peer{
		name: "getmail",
		group: func(c headerCase) string {
			r := c.account.Recipients
			tier, field, _ := strings.Cut(c.tier, " ")
			switch {
			case !plain(c):
			case r.Header != "" && r.HeaderIndex > 0 && tier == "header":
				return fmt.Sprintf("type = MultidropPOP3Retriever\nenvelope_recipient = %s:%d\n%%MultiSorter", strings.ToLower(r.Header), r.HeaderIndex)
			case r.Header != "" || len(r.ReceivedBy) > 0 || len(r.Headers) > 0:
			case r.ToCc || tier == "envelope" && slices.Contains([]string{"delivered-to", "envelope-to", "x-envelope-to"}, strings.ToLower(field)):
				return "type = SimplePOP3Retriever\n%MultiGuesser"
			}
			return ""
		},
		run: func(t *testing.T, d *testenv.Dovecot, user, group, recorder string) {
			t.Helper()
			dir := filepath.Dir(recorder)
			retriever, sorter, _ := strings.Cut(group, "%")
			var rc, locals strings.Builder
			for i, a := range known {
				fmt.Fprintf(&locals, "  ('^%s$', '[to%d]'),\n", regexp.QuoteMeta(a), i)
				fmt.Fprintf(&rc, "[to%d]\ntype = MDA_external\npath = %s\narguments = ('%s',)\nallow_root_commands = true\n", i, recorder, a)
			}
			text := fmt.Sprintf("[retriever]\n%sserver = %s\nport = %d\nusername = %s\npassword = %s\n[destination]\ntype = %s\ndefault = [nobody]\nlocals = (\n%s  )\n"+
				"[nobody]\ntype = MDA_external\npath = %s\narguments = ('nobody',)\nallow_root_commands = true\n%s[options]\nread_all = true\nverbose = 0\n",
				retriever, d.Address, d.POP3Port, user, d.Password, sorter, locals.String(), recorder, rc.String())
			command(t, dir, "getmail", "--getmaildir", dir, "--rcfile", rcFile(t, dir, strings.ReplaceAll(text, "%", "%%")))
		},
		differs: reasons(map[string][]string{
			"takes the first address of the field": {"several addresses in it", "folded in the middle"},
			"believes every Delivered-To":          {"a forged Delivered-To beneath the sender's last Received"},
			"Resent-* always go before To":         {"resent: not asked for"},
			"gives up a list for a bad address": {
				"an unquoted display name with an address", "ezmlm's Delivered-To holds one address among words", "single quotes around an address",
				"single quotes in a display name and around the address", "a semicolon in place of the comma", "two commas, and one at the end",
				"the opening bracket is missing", "brackets doubled", "a quote that never ends", "a comment that never ends",
				"words before a bare address", "two addresses in brackets without a comma: the last is the address", "mailto",
				"a dot at the end of the domain", "a bare CR in the middle of an address", "a source route",
			},
			"keeps quotes and escapes":              {"a quoted local part that needs no quotes", "a quoted local part with an escape that needs none"},
			"has no such address in its rules here": {"the percent hack is a local part", "odd characters that are allowed"},
			"reads no UTF-8 in a field":             {"SMTPUTF8 local part"},
			"takes it for no field":                 {"white space before the colon"},
		}),
	}
}

// reasons turns reasons and their cases around.
func reasons(of map[string][]string) map[string]string {
	out := map[string]string{}
	for why, cases := range of {
		for _, c := range cases {
			out[c] = why
		}
	}
	return out
}
