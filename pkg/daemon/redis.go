package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/zap"
)

// RedisConfig says where Redis is.
type RedisConfig struct {
	// URL is redis://, rediss:// or unix://. Further host:port follow after commas: the nodes of a cluster,
	// or the Sentinels of the master that the query names: ?master=NAME. A cluster that is known by one
	// address says ?cluster=true.
	URL string
	// Name is what CLIENT LIST calls the connections; it holds no spaces.
	Name string
	// Pool bounds the connections to one node; default 32.
	Pool int
	// Wait is how long to wait for a server that is not up; default 30 s.
	Wait time.Duration
}

// ConnectRedis returns a client whose server answered once. No error shows a password of the URL.
func ConnectRedis(ctx context.Context, log *zap.Logger, cfg RedisConfig) (redis.UniversalClient, error) {
	opts, cluster, err := redisOptions(cfg)
	if err != nil {
		return nil, err
	}
	var rdb redis.UniversalClient
	if cluster {
		rdb = redis.NewClusterClient(opts.Cluster())
	} else {
		rdb = redis.NewUniversalClient(opts)
	}
	err = await(ctx, cfg.Wait, func(ctx context.Context) error {
		err := rdb.Ping(ctx).Err()
		for _, word := range []string{"WRONGPASS", "NOAUTH", "NOPERM"} {
			if err != nil && strings.HasPrefix(err.Error(), word) {
				return final{err}
			}
		}
		return err
	}, func(err error) {
		log.Warn("Redis does not answer yet", zap.String("url", redactAll(cfg.URL)), zap.Error(err))
	})
	if err != nil {
		_ = rdb.Close()
		return nil, fmt.Errorf("connect to Redis at %s (--redis-url): %w", redactAll(cfg.URL), err)
	}
	return rdb, nil
}

// redisOptions reads the URL; the second result asks for a cluster client whatever the number of
// addresses.
func redisOptions(cfg RedisConfig) (*redis.UniversalOptions, bool, error) {
	bad := func(why string) error {
		return fmt.Errorf("redis URL %s: %s", redactAll(cfg.URL), why)
	}
	head, query, _ := strings.Cut(cfg.URL, "?")
	first, rest, _ := strings.Cut(head, ",")
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, false, bad("its query cannot be read")
	}
	take := func(key string) string {
		v := values.Get(key)
		values.Del(key)
		return v
	}
	o := &redis.UniversalOptions{
		MasterName: take("master"), SentinelUsername: take("sentinel_username"), SentinelPassword: take("sentinel_password"),
		ClientName: cfg.Name, PoolSize: cfg.Pool,
		DialTimeout: 3 * time.Second, DialerRetries: 1, ReadTimeout: 3 * time.Second, WriteTimeout: 3 * time.Second,
		PoolTimeout: 5 * time.Second, ContextTimeoutEnabled: true, ConnMaxIdleTime: 5 * time.Minute,
		// Servers of the Redis 7 line do not know these notices; asking for them costs a round trip.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if o.PoolSize == 0 {
		o.PoolSize = 32
	}
	cluster := take("cluster") == "true"
	one, err := parseOne(first, values)
	if err != nil {
		return nil, false, bad(err.Error())
	}
	o.Addrs, o.DB, o.Username, o.Password, o.TLSConfig = []string{one.Addr}, one.DB, one.Username, one.Password, one.TLSConfig
	if rest != "" {
		for addr := range strings.SplitSeq(rest, ",") {
			if strings.Contains(addr, "/") || !strings.Contains(addr, ":") {
				return nil, false, bad("after the first comma only host:port may follow")
			}
			o.Addrs = append(o.Addrs, addr)
		}
	}
	switch {
	case cluster && o.MasterName != "":
		return nil, false, bad("a cluster has no Sentinels: cluster and master exclude each other")
	case (cluster || len(o.Addrs) > 1 && o.MasterName == "") && o.DB != 0:
		return nil, false, bad("a cluster has only database 0")
	}
	return o, cluster, nil
}

// parseOne reads a URL of one server; the options it may bear are db and skip_verify.
func parseOne(first string, values url.Values) (*redis.Options, error) {
	for k := range values {
		if k != "db" && k != "skip_verify" {
			return nil, fmt.Errorf("unknown option %q", k)
		}
	}
	one, err := redis.ParseURL(first + "?" + values.Encode())
	var quoting *url.Error
	switch {
	case errors.As(err, &quoting):
		return nil, errors.New("it cannot be read")
	case err != nil:
		return nil, errors.New("it is no redis://, rediss:// or unix:// URL, or its database is no number")
	}
	if one.TLSConfig != nil {
		one.TLSConfig.ServerName = "" // each node has its own name
	}
	return one, nil
}

// LogRedis sends what the Redis client says of its connections to log. The client has one logger for
// the whole process: main calls this once, before the first connection.
func LogRedis(log *zap.Logger) { redis.SetLogger(redisLog{log.Named("redis").Sugar()}) }

type redisLog struct{ log *zap.SugaredLogger }

func (l redisLog) Printf(_ context.Context, format string, v ...any) { l.log.Debugf(format, v...) }
