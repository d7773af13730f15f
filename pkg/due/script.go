package due

import (
	"context"
	"embed"
	"errors"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed *.lua
var sources embed.FS

// script returns one of the embedded scripts, with the part that its first line asks for.
func script(name string) *redis.Script {
	src, err := sources.ReadFile(name + ".lua")
	if err != nil {
		panic(err) // it is embedded
	}
	if strings.HasPrefix(string(src), "--@ state\n") {
		part, err := sources.ReadFile("state.lua")
		if err != nil {
			panic(err)
		}
		return redis.NewScript(waitsLua() + string(part) + string(src))
	}
	return redis.NewScript(string(src))
}

// keys of a shard: they share a hash tag.
func keys(shard int) []string {
	tag := "ferry:due:{" + strconv.Itoa(shard) + "}"
	return []string{tag + ":at", tag + ":entry", tag + ":told", tag + ":schedule", tag + ":holder", tag + ":states", tag + ":boost"}
}

// on runs a script in a shard; go-redis falls back from EVALSHA to EVAL by itself.
func (x *Index) on(ctx context.Context, s *redis.Script, shard int, args ...any) *redis.Cmd {
	return s.Run(ctx, x.rdb, keys(shard), args...)
}

// onEach runs a script in several shards, in one round trip. The commands that failed say so themselves.
func (x *Index) onEach(ctx context.Context, s *redis.Script, args map[int][]any) map[int]*redis.Cmd {
	cmds := make(map[int]*redis.Cmd, len(args))
	p := x.rdb.Pipeline()
	for shard, a := range args {
		cmds[shard] = s.EvalSha(ctx, p, keys(shard), a...)
	}
	_, _ = p.Exec(ctx)
	for shard, c := range cmds {
		if redis.HasErrorPrefix(c.Err(), "NOSCRIPT") {
			cmds[shard] = x.on(ctx, s, shard, args[shard]...)
		}
	}
	return cmds
}

// maxBatch is the most accounts that a script is given: it hands as many to a command as Lua's stack can hold.
const maxBatch = 1000

// batches runs a script for many accounts, in one round trip for each maxBatch of a shard.
type batches struct {
	x      *Index
	script *redis.Script
	args   map[int][]any
	n      map[int]int
	errs   []error
}

// add adds an account of a shard, with what the script is given of it.
func (b *batches) add(ctx context.Context, shard int, args ...any) {
	if b.args == nil {
		b.args, b.n = make(map[int][]any, Shards), make(map[int]int, Shards)
	}
	b.args[shard] = append(b.args[shard], args...)
	if b.n[shard]++; b.n[shard] == maxBatch {
		b.run(ctx, map[int][]any{shard: b.args[shard]})
		delete(b.args, shard)
		delete(b.n, shard)
	}
}

// flush runs it for those that are left, and says what went wrong with any of them.
func (b *batches) flush(ctx context.Context) error {
	b.run(ctx, b.args)
	return errors.Join(b.errs...)
}

func (b *batches) run(ctx context.Context, args map[int][]any) {
	for _, c := range b.x.onEach(ctx, b.script, args) {
		b.errs = append(b.errs, c.Err())
	}
}
