package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mailferry/mailferry/pkg/vault"
)

type vaultCmd struct {
	Init vaultInitCmd `cmd:"" help:"Make a key file, mode 0600; all roles of a fleet read the same."`
}

type vaultInitCmd struct {
	File string `arg:"" help:"Where to write it; a file that is there is kept."`
}

// Run makes the key file.
func (c *vaultInitCmd) Run(t *terminal) error {
	if _, err := os.Stat(c.File); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fs.ErrExist
		}
		return fmt.Errorf("%s: %w; without the keys in it no stored password opens, so it is not overwritten", c.File, err)
	}
	if _, err := vault.OpenOrCreate(c.File); err != nil {
		return err
	}
	_, err := fmt.Fprintf(t.out, "made %s; keep a copy of it with your backups\n", c.File)
	return err
}
