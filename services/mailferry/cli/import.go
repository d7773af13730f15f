package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

const (
	// importBatch is how many accounts a call carries, importBytes how many bytes, importCalls how many calls there are at a time.
	importBatch = 200
	importBytes = 512 << 10
	importCalls = 4
)

// AccountImportCmd adds many accounts.
type AccountImportCmd struct {
	Client `embed:""`

	Format string `enum:"auto,json,csv" default:"auto" help:"json: a CreateAccountRequest of the API a line; csv: columns by the names of its first line; auto: by the end of the file's name."`
	File   string `arg:"" help:"The file, or - for standard input."`
}

// Help shows examples.
func (*AccountImportCmd) Help() string {
	return `A line that is refused is named with its number, and the others go on. It may be repeated: an account that is there already as the file has
it is passed over (its password is not compared), one that differs is refused. The file holds passwords: keep it from others.

JSON lines, with all that the API knows:
  {"account":{"domain":"example.com","name":"isp","protocol":"PROTOCOL_POP3","host":"pop.isp.net","username":"alice","forwardTo":"alice@example.com","active":true},"password":"…"}

CSV; columns: ` + strings.Join(csvColumns(), ", ") + ` (labels with spaces between them)
  domain,name,address,forward-to,password
  example.com,gmail-alice,alice@gmail.com,alice@example.com,…`
}

// importer sends accounts in batches.
type importer struct {
	env *Env
	to  *clients

	mu                     sync.Mutex
	added, existed, failed int64
	bar                    *progressbar.ProgressBar
	last                   time.Time
}

// line is an account of the file.
type line struct {
	number  int
	account *mailferryv1.CreateAccountRequest
}

// Run reads the file and sends what it holds.
func (c *AccountImportCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	in := env.Stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return usage("the file cannot be read: %v", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	read := jsonLines
	if c.Format == "csv" || c.Format == "auto" && strings.HasSuffix(strings.ToLower(c.File), ".csv") {
		read = csvLines
	}
	im := &importer{env: env, to: to, last: env.Now()}
	err = im.run(ctx, in, read)
	im.close()
	if c.JSON {
		done, _ := json.Marshal(map[string]int64{"added": im.added, "existed": im.existed, "failed": im.failed})
		_, _ = fmt.Fprintf(env.Stdout, "%s\n", done)
	} else {
		_, _ = fmt.Fprintln(env.Stdout, im.far())
	}
	switch {
	case err != nil:
		return err
	case im.failed > 0:
		return errReported
	}
	return nil
}

func (im *importer) far() string {
	return fmt.Sprintf("%s added, %d there already, %d failed", count(im.added, "account"), im.existed, im.failed)
}

// run sends batches, some at a time; a call that fails ends it.
func (im *importer) run(ctx context.Context, in io.Reader, read func(io.Reader, func(line, error) error) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(importCalls)
	var batch []line
	bytes := 0
	send := func() {
		full := batch
		batch, bytes = nil, 0
		g.Go(func() error { return im.send(gctx, full) })
	}
	err := read(in, func(l line, err error) error {
		if err != nil {
			im.mu.Lock()
			defer im.mu.Unlock()
			im.refuse(l, explain(err))
			return gctx.Err()
		}
		n := proto.Size(l.account)
		if len(batch) == importBatch || len(batch) > 0 && bytes+n > importBytes {
			send()
		}
		batch, bytes = append(batch, l), bytes+n
		return gctx.Err()
	})
	if len(batch) > 0 && err == nil {
		send()
	}
	if sent := g.Wait(); sent != nil {
		return sent
	}
	return err
}

func (im *importer) send(ctx context.Context, batch []line) error {
	req := &mailferryv1.ImportAccountsRequest{}
	for _, l := range batch {
		req.Accounts = append(req.Accounts, l.account)
	}
	res, err := im.to.accounts.ImportAccounts(ctx, req)
	if err == nil && len(res.GetAccounts()) != len(batch) {
		err = &failure{"protocol", "the answer is cut short", ""}
	}
	if err != nil {
		f := *explain(err)
		f.message = fmt.Sprintf("lines %d to %d: %s", batch[0].number, batch[len(batch)-1].number, f.message)
		f.advice = strings.TrimPrefix(f.advice+"; import the file again, what is there already is passed over", "; ")
		return &f
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	for i, a := range res.GetAccounts() {
		switch {
		case a.GetFault() != nil:
			im.refuse(batch[i], explain(errFault("", a.GetFault())))
		case a.GetExisted():
			im.existed++
		default:
			im.added++
		}
	}
	im.show()
	return nil
}

// refuse names a line that was not taken.
func (im *importer) refuse(l line, f *failure) {
	im.failed++
	im.close()
	what := fmt.Sprintf("line %d", l.number)
	if a := l.account.GetAccount(); a.GetName() != "" {
		what += ", " + a.GetDomain() + "/" + a.GetName()
	}
	printError(im.env, &failure{f.kind, what + ": " + f.message, f.advice})
}

// show says how far it is.
func (im *importer) show() {
	switch now := im.env.Now(); {
	case im.env.json:
	case im.env.Terminal:
		if im.bar == nil {
			im.bar = newBar(im.env, -1, im.far())
		}
		im.bar.Describe(im.far())
		_ = im.bar.Set64(im.added + im.existed + im.failed)
	case now.Sub(im.last) >= reportEvery:
		im.last = now
		_, _ = fmt.Fprintln(im.env.Stdout, im.far())
	}
}

func (im *importer) close() {
	if im.bar != nil {
		_ = im.bar.Clear()
		im.bar = nil
	}
}
