package daemon

import (
	"context"
	"os"

	"github.com/redis/go-redis/v9"
)

// SignalsOn is NotifySignals for a channel of the test's own.
func SignalsOn(ctx context.Context, c chan os.Signal) *Signals { return newSignals(ctx, c) }

// RedisOptions shows how a URL is read.
func RedisOptions(cfg RedisConfig) (*redis.UniversalOptions, bool, error) { return redisOptions(cfg) }

// RedactAll shows how URLs are logged.
func RedactAll(list string) string { return redactAll(list) }
