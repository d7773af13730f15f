package floors_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// prefix is what the import paths of all our packages begin with.
const prefix = "github.com/mailferry/mailferry/"

// floors names what does not follow from the folder: a room is 3, a service 4.
var floors = map[string]int{
	"proto":         0,
	"pkg/fault":     1,
	"pkg/schedule":  1,
	"pkg/account":   2,
	"pkg/vault":     2,
	"pkg/jsapi":     2,
	"pkg/testenv":   3, // its exceptions are below
	"pkg/floors":    3,
	"services/e2e":  6,
	"services/demo": 6, // drives the binary, as e2e does

	"services/mailferry": 5,
}

// owner is who may import a client library, and why it is more than one.
type owner struct {
	library string
	allowed []string
	why     string
}

var owners = []owner{
	{"github.com/nats-io/nats.go", []string{
		"pkg/directory", "pkg/queue", "pkg/transit", "pkg/notice",
		"pkg/jsapi",          // how these four call it
		"pkg/daemon",         // opens the connection
		"services/mailferry", // hands it to the rooms
	}, "who else wants a message asks a room for it"},
	{"github.com/redis/go-redis/v9", []string{
		"pkg/ledger", "pkg/due", "pkg/budget",
		"pkg/oauth",          // tokens that workers share, and the lock of their refresh
		"pkg/daemon",         // opens the connection
		"services/mailferry", // hands it to the rooms, and waits for the server it starts
	}, "who else wants a key asks a room for it"},
	{"github.com/go-redis/redis_rate/v10", []string{"pkg/budget"}, "one place for what tenants may ask"},
	{"github.com/nats-io/nats-server/v2", []string{"services/mailferry/embedded"}, "up runs it inside"},
	{"github.com/emersion/go-imap/v2", []string{"pkg/remote/imap"}, "one guard around it"},
	{"golang.org/x/net/proxy", []string{"pkg/remote"}, "one guard before it"},
	{"golang.org/x/oauth2", []string{"pkg/oauth"}, "no token in an error, and one refresh at a time"},
	{"github.com/knadh/go-pop3", []string{"pkg/remote/pop3"}, "one guard around it"},
	{"github.com/emersion/go-sasl", []string{"pkg/remote/sasl"}, "one attempt, and no secret in an error"},
	{"github.com/xdg-go/scram", []string{"pkg/remote/sasl"}, "one bound on its iterations"},
	{"github.com/emersion/go-smtp", nil, "a server for tests"},
	{"github.com/tink-crypto/tink-go/v2", []string{"pkg/vault"}, "one place for keys"},
	{"go.uber.org/zap", []string{"pkg/daemon", "services"}, "rooms return errors or call a hook"},
	{"github.com/prometheus/client_golang", []string{"pkg/daemon", "services"}, "rooms return figures or call a hook"},
	{"connectrpc.com/connect", []string{"proto", "services/control", "services/mailferry"}, "the API and its client"},
	{"github.com/alecthomas/kong", []string{"services/mailferry"}, "the command line"},
	{"gonum.org/v1/plot", []string{"services/mailferry/simulate"}, "the only thing that is drawn"},
	{"github.com/alecthomas/kong-yaml", []string{"services/mailferry"}, "the command line"},
}

// forTests is what must not be in the binary. Entries end a path element.
var forTests = []string{
	prefix + "pkg/testenv", prefix + "services/e2e", "testing", "net/http/httptest", "go.uber.org/goleak",
	"github.com/stretchr/testify", "github.com/emersion/go-smtp", "github.com/emersion/go-imap/v2/imapserver",
	"github.com/alicebob/miniredis", "github.com/zitadel/oidc", "github.com/Shopify/toxiproxy",
}

// shared are parts of a room that its other parts may import, since they would belong to the room's own
// package if that were not imported by everybody.
var shared = []string{
	"pkg/remote/sasl", // both protocols sign in by the same mechanisms
}

// stages are not part of the product: they drive its binary among real servers, with testenv.
var stages = []string{"services/e2e", "services/demo"}

// pkg is one of our packages as go list shows it.
type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// under says whether path is p or in a folder of it.
func under(path, p string) bool { return path == p || strings.HasPrefix(path, p+"/") }

// house returns the room, service or other part that a package of ours belongs to, for instance
// pkg/remote for pkg/remote/imap, and its floor; ok is false for a package at the root of a module.
func house(path string) (name string, floor int, ok bool) {
	rel := strings.TrimPrefix(path, prefix)
	if under(rel, "proto") {
		return "proto", 0, true
	}
	parts := strings.Split(rel, "/")
	if len(parts) < 2 {
		return rel, 0, false
	}
	name = parts[0] + "/" + parts[1]
	floor, named := floors[name]
	if !named {
		floor = map[string]int{"pkg": 3, "services": 4}[parts[0]]
	}
	return name, floor, true
}

// offences returns what the packages do against the rules, one sentence each.
func offences(all []pkg) []string {
	var out []string
	for _, p := range all {
		if _, _, ok := house(p.ImportPath); !ok {
			out = append(out, p.ImportPath+" is in no room")
			continue
		}
		for _, imp := range p.Imports {
			out = append(out, wall(p.ImportPath, imp)...)
			out = append(out, ownership(p.ImportPath, imp)...)
			if forTestsOnly(imp) && !forTestsOnly(p.ImportPath) && !isStage(p.ImportPath) {
				out = append(out, p.ImportPath+" imports "+imp+" outside its tests")
			}
		}
		for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
			if !forTestsOnly(imp) {
				out = append(out, wall(p.ImportPath, imp)...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// forTestsOnly says whether a package of ours is testenv or the conformance suite of a contract, for
// instance pkg/remote/remotetest.
func forTestsOnly(path string) bool {
	rel, ours := strings.CutPrefix(path, prefix)
	if !ours {
		return false
	}
	room, suite := filepath.Base(filepath.Dir(rel)), filepath.Base(rel)
	return under(rel, "pkg/testenv") || suite == room+"test"
}

func isStage(path string) bool {
	return slices.ContainsFunc(stages, func(s string) bool { return under(strings.TrimPrefix(path, prefix), s) })
}

// wall checks an import of one of our packages by another.
func wall(from, to string) []string {
	if !strings.HasPrefix(to, prefix) {
		return nil
	}
	fromHouse, fromFloor, _ := house(from)
	toHouse, toFloor, ok := house(to)
	switch {
	case !ok, fromHouse == "pkg/testenv" && toFloor <= 3, fromHouse == "proto" && toHouse == "proto":
	case fromHouse == toHouse && fromFloor < 4 && from != to && !under(from, to) &&
		!slices.Contains(shared, strings.TrimPrefix(to, prefix)):
		return []string{fmt.Sprintf("%s imports %s: inside a room only an ancestor is imported", from, to)}
	case fromHouse == toHouse:
	case toFloor >= fromFloor:
		return []string{fmt.Sprintf("%s (floor %d) imports %s (floor %d)", from, fromFloor, to, toFloor)}
	}
	return nil
}

// ownership checks an import of a library that has an owner.
func ownership(from, to string) []string {
	rel := strings.TrimPrefix(from, prefix)
	if forTestsOnly(from) || isStage(from) {
		return nil // they talk to real servers
	}
	for _, o := range owners {
		if !under(to, o.library) {
			continue
		}
		if !slices.ContainsFunc(o.allowed, func(a string) bool { return under(rel, a) }) {
			return []string{fmt.Sprintf("%s imports %s, which belongs to %v: %s", from, to, o.allowed, o.why)}
		}
	}
	return nil
}
