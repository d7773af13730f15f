package main

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// maxConfig bounds a configuration file in bytes.
const maxConfig = 1 << 20

// configured makes the parser read YAML files: the one of --config and, before it, path.
//
// A key is the name of a flag, at the top (for every role that has it) or under the name of a role (for
// that one); dashes may be nesting: "nats-url: x" is "nats: {url: x}". The command line wins over the
// environment, that over the file. A key that no role knows is an error.
func configured(path string) (kong.Option, error) {
	if path == "" {
		return kong.Configuration(loadYAML), nil
	}
	f, err := os.Open(path) // kong passes over a file that is not there
	if err != nil {
		return nil, fmt.Errorf("MAILFERRY_CONFIG: %w", err)
	}
	defer f.Close()
	return kong.Configuration(loadYAML, path), nil
}

// yamlFile holds the values of a file by key, nesting written as dashes.
type yamlFile map[string]any

func loadYAML(r io.Reader) (kong.Resolver, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxConfig {
		return nil, fmt.Errorf("configuration file is larger than %d bytes", maxConfig)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(content, &tree); err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	y := yamlFile{}
	return y, y.add("", tree)
}

// add takes the leaves of a tree in. A value given in two spellings is an error, because neither is the
// right one.
func (y yamlFile) add(prefix string, tree map[string]any) error {
	for k, v := range tree {
		if sub, ok := v.(map[string]any); ok {
			if err := y.add(prefix+k+"-", sub); err != nil {
				return err
			}
			continue
		}
		if _, twice := y[prefix+k]; twice {
			return fmt.Errorf("configuration file: %s is given twice", prefix+k)
		}
		y[prefix+k] = v
	}
	return nil
}

// Validate refuses keys that are no flag of any command.
func (y yamlFile) Validate(app *kong.Application) error {
	known := map[string]bool{}
	var visit func(path string, n *kong.Node)
	visit = func(path string, n *kong.Node) {
		for _, f := range n.Flags {
			known[f.Name], known[path+f.Name] = true, true
		}
		for _, c := range n.Children {
			visit(path+c.Name+"-", c)
		}
	}
	visit("", app.Node)
	var odd []string
	for k := range y {
		if !known[k] {
			odd = append(odd, k)
		}
	}
	sort.Strings(odd)
	if len(odd) > 0 {
		return fmt.Errorf("configuration file: unknown keys: %s", strings.Join(odd, ", "))
	}
	return nil
}

// Resolve returns the value for a flag, or nil.
func (y yamlFile) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, ok := os.LookupEnv(env); ok {
			return nil, nil
		}
	}
	path := ""
	for n := parent.Node(); n != nil && n.Type != kong.ApplicationNode; n = n.Parent {
		path = n.Name + "-" + path
	}
	if v, ok := y[path+flag.Name]; ok {
		return v, nil
	}
	return y[flag.Name], nil
}
