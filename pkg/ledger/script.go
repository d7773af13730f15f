package ledger

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/mailferry/mailferry/pkg/fault"
)

//go:embed lua
var sources embed.FS

// scripts are the embedded scripts by name, each with the parts its first line asks for ("--@ use clock index").
func scripts() (map[string]*redis.Script, error) {
	entries, err := sources.ReadDir("lua")
	if err != nil {
		return nil, err
	}
	all := make(map[string]*redis.Script)
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		body, err := sources.ReadFile("lua/" + e.Name())
		if err != nil {
			return nil, err
		}
		src, err := assemble(body)
		if err != nil {
			return nil, err
		}
		all[strings.TrimSuffix(e.Name(), ".lua")] = redis.NewScript(src)
	}
	return all, nil
}

// assemble puts the parts in front of a script.
func assemble(body []byte) (string, error) {
	var b strings.Builder
	first, _, _ := strings.Cut(string(body), "\n")
	if uses, ok := strings.CutPrefix(first, "--@ use "); ok {
		for _, part := range strings.Fields(uses) {
			lib, err := sources.ReadFile("lua/lib/" + part + ".lua")
			if err != nil {
				return "", err
			}
			b.Write(lib)
		}
	}
	b.Write(body)
	return b.String(), nil
}

// run runs a script and turns its refusals into errors.
func (l *Ledger) run(ctx context.Context, name string, keys []string, args ...any) ([]any, error) {
	op := "ledger " + name
	script, ok := l.scripts[name]
	if !ok {
		return nil, fault.Errorf(fault.Internal, op, "no such script")
	}
	all := append([]any{l.offset.Load(), l.cfg.KeyID}, args...)
	return answered(ctx, op, l.cfg.KeyID, script.Run(ctx, l.rdb, keys, all...))
}

// answered reads the answer of a script and turns its refusals into errors. The first word of it, "OK" or what the
// caller understands, stays in it.
func answered(ctx context.Context, op, keyID string, c *redis.Cmd) ([]any, error) {
	v, err := c.Result()
	if err != nil {
		return nil, redisError(ctx, op, err)
	}
	reply, ok := v.([]any)
	if !ok || len(reply) == 0 {
		return nil, fault.Errorf(fault.Internal, op, "the script answered %T", v)
	}
	switch text(reply, 0) {
	case "STALE":
		return nil, fault.New(fault.Canceled, op, fmt.Errorf("%w: %s", ErrStale, text(reply, 1)))
	case "KEY":
		return nil, fault.New(fault.Internal, op, fmt.Errorf("%w: the index was made with %q, this is %q",
			ErrWrongKey, text(reply, 1), keyID))
	case "GONE":
		return nil, fault.New(fault.Canceled, op, ErrGone)
	case "MOVED", "MOVING":
		return nil, fault.New(fault.Canceled, op, &MovedError{To: Slot(text(reply, 1)), Moving: text(reply, 0) == "MOVING"})
	case "LOST":
		return nil, fault.New(fault.Canceled, op, ErrLeaseLost)
	}
	return reply, nil
}

// redisError gives the failure of Redis its kind: it is ours, never the remote server's.
func redisError(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return fault.New(fault.Canceled, op, errors.Join(context.Cause(ctx), err))
	}
	return fault.New(fault.Internal, op, err)
}

func text(reply []any, i int) string {
	if i >= len(reply) {
		return ""
	}
	s, _ := reply[i].(string)
	return s
}

func number(reply []any, i int) int64 {
	if i >= len(reply) {
		return 0
	}
	n, _ := reply[i].(int64)
	return n
}

func list(reply []any, i int) []any {
	if i >= len(reply) {
		return nil
	}
	v, _ := reply[i].([]any)
	return v
}

// pairs calls each for the fields of a hash as a script answers it.
func pairs(flat []any, each func(field, value string)) {
	for i := 0; i+1 < len(flat); i += 2 {
		each(text(flat, i), text(flat, i+1))
	}
}

// maxBatch is the most keys one script is given.
const maxBatch = 200

// batches calls each with the bounds of slices of at most size.
func batches(n, size int, each func(from, to int) error) error {
	for from := 0; from < n; from += size {
		if err := each(from, min(from+size, n)); err != nil {
			return err
		}
	}
	return nil
}
