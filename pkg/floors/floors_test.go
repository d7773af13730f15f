package floors_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// goList runs go list at the root of the workspace.
func goList(t *testing.T, args ...string) []byte {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Dir = root
	// The workspace also where the test itself runs without one.
	cmd.Env = append(os.Environ(), "GOWORK="+filepath.Join(root, "go.work"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	return out
}

func TestTheWallsStand(t *testing.T) {
	t.Parallel()
	dec := json.NewDecoder(bytes.NewReader(goList(t, "-json=ImportPath,Imports,TestImports,XTestImports",
		"./proto/...", "./pkg/...", "./services/...")))
	var all []pkg
	for {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list shows %d packages only", len(all))
	}
	for _, o := range offences(all) {
		t.Error(o)
	}
}

func TestTheBinaryHoldsNoTestHelper(t *testing.T) {
	t.Parallel()
	for dep := range strings.FieldsSeq(string(goList(t, "-deps", "./services/mailferry"))) {
		if slices.ContainsFunc(forTests, func(f string) bool { return under(dep, f) && dep != "testing/iotest" }) {
			t.Errorf("the binary depends on %s", dep)
		}
	}
}

// Each rule is broken once, so that a rule that holds nothing is seen.
func TestTheRulesSeeOffences(t *testing.T) {
	t.Parallel()
	p := func(path string) string { return prefix + path }
	tests := []struct {
		name     string
		pkg      pkg
		offended bool
	}{
		{"room to room", pkg{ImportPath: p("pkg/ledger"), Imports: []string{p("pkg/queue")}}, true},
		{"room to room in a test", pkg{ImportPath: p("pkg/ledger"), XTestImports: []string{p("pkg/queue")}}, true},
		{"room to service", pkg{ImportPath: p("pkg/ledger"), Imports: []string{p("services/worker")}}, true},
		{"service to service", pkg{ImportPath: p("services/worker"), Imports: []string{p("services/delivery")}}, true},
		{"service to mailferry", pkg{ImportPath: p("services/worker"), Imports: []string{p("services/mailferry/cli")}}, true},
		{"fault to account", pkg{ImportPath: p("pkg/fault"), Imports: []string{p("pkg/account")}}, true},
		{"account to schedule", pkg{ImportPath: p("pkg/account"), Imports: []string{p("pkg/schedule")}}, false},
		{"account to vault", pkg{ImportPath: p("pkg/account"), Imports: []string{p("pkg/vault")}}, true},
		{"proto to pkg", pkg{ImportPath: p("proto/mailferry/v1"), Imports: []string{p("pkg/fault")}}, true},
		{"sister in a room", pkg{ImportPath: p("pkg/remote/imap"), Imports: []string{p("pkg/remote/pop3")}}, true},
		{"parent in a room", pkg{ImportPath: p("pkg/remote/imap"), Imports: []string{p("pkg/remote")}}, false},
		{"room to its child", pkg{ImportPath: p("pkg/remote"), Imports: []string{p("pkg/remote/imap")}}, true},
		{"suite in code", pkg{ImportPath: p("pkg/remote/imap"), Imports: []string{p("pkg/remote/remotetest")}}, true},
		{"suite in a test", pkg{ImportPath: p("pkg/remote/imap"), XTestImports: []string{p("pkg/remote/remotetest")}}, false},
		{"stage with testenv", pkg{ImportPath: p("services/demo"), Imports: []string{p("pkg/testenv")}}, false},
		{"service to room", pkg{ImportPath: p("services/worker"), Imports: []string{p("pkg/remote/imap")}}, false},
		{"mailferry to service", pkg{ImportPath: p("services/mailferry"), Imports: []string{p("services/worker")}}, false},
		{"testenv in code", pkg{ImportPath: p("pkg/queue"), Imports: []string{p("pkg/testenv")}}, true},
		{"testenv in a test", pkg{ImportPath: p("pkg/queue"), XTestImports: []string{p("pkg/testenv")}}, false},
		{"client of another", pkg{ImportPath: p("pkg/queue"), Imports: []string{"github.com/redis/go-redis/v9"}}, true},
		{"client of a service", pkg{ImportPath: p("services/worker"), Imports: []string{"github.com/nats-io/nats.go/jetstream"}}, true},
		{"own client", pkg{ImportPath: p("pkg/queue"), Imports: []string{"github.com/nats-io/nats.go/jetstream"}}, false},
		{"a room that logs", pkg{ImportPath: p("pkg/queue"), Imports: []string{"go.uber.org/zap"}}, true},
		{"at the root of a module", pkg{ImportPath: strings.TrimSuffix(p("pkg/"), "/")}, true},
	}
	for _, tt := range tests {
		if got := offences([]pkg{tt.pkg}); (len(got) > 0) != tt.offended {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}
