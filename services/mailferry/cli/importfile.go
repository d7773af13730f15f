package cli

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/mailferry/mailferry/pkg/account"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// maxLine bounds a line of JSON; a stored account is smaller.
const maxLine = 256 << 10

// column is where an error of the JSON decoder is. The rest of its text may quote a password.
var column = regexp.MustCompile(`\(line 1:(\d+)\)`)

// jsonLines reads an account a line. An error of a line is told to each, and it goes on.
func jsonLines(in io.Reader, each func(line, error) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		raw := bytes.TrimSpace(lines.Bytes())
		if len(raw) == 0 {
			continue
		}
		l := line{n, &mailferryv1.CreateAccountRequest{}}
		err := protojson.Unmarshal(raw, l.account)
		if err != nil {
			where := ""
			if m := column.FindStringSubmatch(err.Error()); m != nil {
				where = " at column " + m[1]
			}
			l.account, err = nil, &failure{"protocol", "what stands" + where + " is no account in JSON",
				"see 'mailferry account import --help' for an example; fields have the names that 'mailferry account list --json' prints"}
		}
		if err := each(l, err); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return &failure{"protocol", "the file cannot be read on: " + err.Error(), "is it JSON, an account a line?"}
	}
	return nil
}

// csvColumn writes a field into what is asked for.
type csvColumn func(r *mailferryv1.CreateAccountRequest, a *account.Account, s *Source, v string) error

var csvFields = map[string]csvColumn{
	"domain": func(_ *mailferryv1.CreateAccountRequest, a *account.Account, _ *Source, v string) error {
		a.Domain = v
		return nil
	},
	"name": func(_ *mailferryv1.CreateAccountRequest, a *account.Account, _ *Source, v string) error {
		a.Name = v
		return nil
	},
	"forward-to": func(_ *mailferryv1.CreateAccountRequest, a *account.Account, _ *Source, v string) error {
		a.ForwardTo = v
		return nil
	},
	"password": func(r *mailferryv1.CreateAccountRequest, _ *account.Account, _ *Source, v string) error {
		r.Password = v
		return nil
	},
	"address": func(r *mailferryv1.CreateAccountRequest, _ *account.Account, _ *Source, v string) error {
		r.Address = v
		return nil
	},
	"preset": func(r *mailferryv1.CreateAccountRequest, _ *account.Account, _ *Source, v string) error {
		r.Provider = v
		return nil
	},
	"protocol": oneOf(func(s *Source, v *string) { s.Protocol = v }, "pop3", "imap"),
	"tls":      oneOf(func(s *Source, v *string) { s.TLS = v }, "detect", "direct", "disable"),
	"after":    oneOf(func(s *Source, v *string) { s.After = v }, "leave", "delete", "move"),
	"host": func(_ *mailferryv1.CreateAccountRequest, _ *account.Account, s *Source, v string) error {
		s.Host = &v
		return nil
	},
	"username": func(_ *mailferryv1.CreateAccountRequest, _ *account.Account, s *Source, v string) error {
		s.Username = &v
		return nil
	},
	"interval": func(_ *mailferryv1.CreateAccountRequest, _ *account.Account, s *Source, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil {
			return errors.New("want a duration, for instance 5m")
		}
		s.Interval = &d
		return nil
	},
	"labels": func(_ *mailferryv1.CreateAccountRequest, a *account.Account, _ *Source, v string) error {
		a.Labels = strings.Fields(v)
		return nil
	},
	"inactive": func(_ *mailferryv1.CreateAccountRequest, a *account.Account, _ *Source, v string) error {
		off, err := strconv.ParseBool(v)
		if err != nil {
			return errors.New("want true or false")
		}
		a.Active = !off
		return nil
	},
}

func oneOf(set func(*Source, *string), words ...string) csvColumn {
	return func(_ *mailferryv1.CreateAccountRequest, _ *account.Account, s *Source, v string) error {
		if !slices.Contains(words, v) {
			return errors.New("want " + strings.Join(words, ", "))
		}
		set(s, &v)
		return nil
	}
}

func csvColumns() []string { return slices.Sorted(maps.Keys(csvFields)) }

// csvLines reads an account a record. An empty field says nothing.
func csvLines(in io.Reader, each func(line, error) error) error {
	r := csv.NewReader(in)
	head, err := r.Read()
	if err != nil {
		return usage("the file has no first line with the names of its columns: %v", err)
	}
	for i, name := range head {
		head[i] = strings.TrimPrefix(strings.TrimSpace(name), "\ufeff")
		if csvFields[head[i]] == nil {
			return usage("there is no column %q; want some of %s", head[i], strings.Join(csvColumns(), ", "))
		}
	}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var bad *csv.ParseError
		if err != nil && !errors.As(err, &bad) {
			return &failure{"internal", "the file cannot be read on: " + err.Error(), ""}
		}
		l := line{}
		if bad != nil {
			l.number, err = bad.StartLine, &failure{"protocol", bad.Err.Error(), "quote fields as RFC 4180 says"}
		} else {
			l.number, _ = r.FieldPos(0)
			l.account, err = csvAccount(head, record)
		}
		if err := each(l, err); err != nil {
			return err
		}
	}
}

func csvAccount(head, record []string) (*mailferryv1.CreateAccountRequest, error) {
	req, a, s := &mailferryv1.CreateAccountRequest{}, account.Account{Active: true, OnIndexLoss: account.Recollect}, Source{}
	for i, name := range head {
		if record[i] == "" {
			continue
		}
		if err := csvFields[name](req, &a, &s, record[i]); err != nil {
			return nil, &failure{"policy", name + ": " + err.Error(), ""}
		}
	}
	s.apply(&a)
	req.Account = a.Proto()
	return req, nil
}
