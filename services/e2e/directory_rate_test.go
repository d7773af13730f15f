package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
	"github.com/mailferry/mailferry/proto/mailferry/v1/mailferryv1connect"
)

// TestDirectoryRate is no test but `task bench:directory`: BENCH_DIRECTORY accounts are imported from a file, a thousand to a domain, and
// imported once more; then accounts are got by their names and domains are listed, of the directory and by the API.
func TestDirectoryRate(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("BENCH_DIRECTORY"))
	if err != nil {
		t.Skip("task bench:directory")
	}
	figure := func(name string, value float64, unit string) {
		fmt.Printf("directory_%s %.2f %s\n", name, value, unit)
	}
	const perDomain, again = 1000, 20_000
	domain := func(i int) string { return fmt.Sprintf("d%04d.example.com", i/perDomain) }
	h := newHouse(t, nil)
	h.destination("lmtp:127.0.0.1:1")
	addr := freeAddr(t)
	control := h.controlAt(addr, "--log-level", "info")

	imported := func(to int) (added, existed int, seconds float64) {
		file := filepath.Join(h.dir, "accounts.jsonl")
		h.accountsFile(file, to, domain)
		start := time.Now()
		out, err := control.run("account", "import", "--json", file)
		seconds = time.Since(start).Seconds()
		var done struct{ Added, Existed, Failed int }
		if jerr := json.Unmarshal([]byte(out), &done); err != nil || jerr != nil || done.Failed > 0 || done.Added+done.Existed != to {
			t.Fatalf("%s, %v, %v", out, err, jerr)
		}
		return done.Added, done.Existed, seconds
	}
	added, _, took := imported(n)
	figure("import", float64(added)/took, "accounts/s")
	_, existed, took := imported(min(n, again))
	figure("import_again", float64(existed)/took, "accounts/s")

	accounts := mailferryv1connect.NewAccountServiceClient(&http.Client{Transport: bearer("token-of-the-house")}, "http://"+addr)
	ctx := t.Context()
	measure := func(name string, times int, f func(i int) error) {
		took := make([]time.Duration, times)
		for k := range took {
			i, start := rand.IntN(n), time.Now()
			if err := f(i); err != nil {
				t.Fatal(name, err)
			}
			took[k] = time.Since(start)
		}
		figure(name+"_p50_ms", quantile(took, 50), "ms")
		figure(name+"_p99_ms", quantile(took, 99), "ms")
	}
	whole := min(n, perDomain)
	listed := func(i, got int) error {
		if got < whole && i/perDomain < n/perDomain {
			return fmt.Errorf("%d accounts of %s", got, domain(i))
		}
		return nil
	}
	get := func(i int) error {
		_, err := h.book.Account(ctx, domain(i), fmt.Sprint("gmail-", i))
		return err
	}
	measure("get_cold", 1000, get) // NATS reads a block of its store, of megabytes, for the first of its records that is asked for
	measure("get", 30_000, get)    // as many as runs of a million accounts each five minutes ask for in nine seconds
	measure("list", 500, func(i int) error {
		got := 0
		for _, err := range h.book.Accounts(ctx, domain(i)) {
			if err != nil {
				return err
			}
			got++
		}
		return listed(i, got)
	})
	measure("api_get", 1000, func(i int) error {
		_, err := accounts.GetAccount(ctx, &mailferryv1.GetAccountRequest{Ref: &mailferryv1.AccountRef{Domain: domain(i), Name: fmt.Sprint("gmail-", i)}})
		return err
	})
	measure("api_list", 200, func(i int) error {
		res, err := accounts.ListAccounts(ctx, &mailferryv1.ListAccountsRequest{Domain: domain(i), PageSize: perDomain})
		if err != nil {
			return err
		}
		return listed(i, len(res.GetAccounts()))
	})
}

// accountsFile writes accounts as 'mailferry account import' takes them.
func (h *house) accountsFile(name string, n int, domain func(i int) string) {
	h.t.Helper()
	f, err := os.Create(name)
	if err != nil {
		h.t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for i := range n {
		line, err := protojson.Marshal(&mailferryv1.CreateAccountRequest{
			Account: &mailferryv1.Account{
				Domain: domain(i), Name: fmt.Sprint("gmail-", i), Active: true, Protocol: mailferryv1.Protocol_PROTOCOL_IMAP,
				Host: fmt.Sprintf("imap%d.example.net", i%50), Username: fmt.Sprintf("user%d@example.net", i), ForwardTo: fmt.Sprintf("user%d@%s", i, domain(i)),
			}, Password: "password",
		})
		if err != nil {
			h.t.Fatal(err)
		}
		_, _ = w.Write(append(line, '\n')) // Flush says it, too
	}
	if err := w.Flush(); err != nil {
		h.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		h.t.Fatal(err)
	}
}
