package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// DeadExportCmd writes messages of dead letters into files.
type DeadExportCmd struct {
	Client `embed:""`

	To  string   `required:"" placeholder:"DIR" type:"path" help:"Folder that the files go to, one a message; it is made as needed."`
	IDs []string `arg:"" name:"id" help:"As 'mailferry dead list' shows them."`
}

// Help shows an example.
func (*DeadExportCmd) Help() string {
	return `Each message is written as it was received, to DIR/ACCOUNT-UID_KEY.eml, readable for its owner only. The dead letter stays.

Example, all of an account:
  mailferry dead list example.com/isp --json | jq -r .id | xargs mailferry dead export --to /root/dead`
}

// Run exports each.
func (c *DeadExportCmd) Run(ctx context.Context, env *Env) error {
	to, err := c.dial(env)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.To, 0o700); err != nil {
		return &failure{"internal", fmt.Sprintf("cannot make %s: %v", c.To, err), ""}
	}
	return c.each(env, c.IDs, func(id string) error {
		path := filepath.Join(c.To, strings.ReplaceAll(filepath.Base(filepath.Dir(id)), "/", "_")+"_"+filepath.Base(id)+".eml")
		n, err := c.export(ctx, to, id, path)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(env.Stdout, &mailferryv1.DeadEntry{Id: id})
		}
		_, err = fmt.Fprintf(env.Stdout, "%s: %s (%s)\n", id, path, size(n))
		return err
	})
}

// export writes one message; a file that is not whole does not get its name.
func (c *DeadExportCmd) export(ctx context.Context, to *clients, id, path string) (n int64, err error) {
	f, err := os.CreateTemp(c.To, ".export-*")
	if err != nil {
		return 0, &failure{"internal", fmt.Sprintf("cannot write to %s: %v", c.To, err), ""}
	}
	defer func() { _ = os.Remove(f.Name()) }()
	stream, err := to.dead.ExportDead(ctx, &mailferryv1.ExportDeadRequest{Id: id})
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	for stream.Receive() {
		k, err := f.Write(stream.Msg().GetPiece())
		n += int64(k)
		if err != nil {
			_ = stream.Close()
			return n, &failure{"internal", fmt.Sprintf("cannot write to %s: %v", c.To, err), ""}
		}
	}
	if err := errors.Join(stream.Err(), stream.Close(), f.Sync(), f.Close()); err != nil {
		return n, err
	}
	return n, os.Rename(f.Name(), path)
}
