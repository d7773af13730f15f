package due

import (
	"context"
	"embed"
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
