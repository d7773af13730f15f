package daemon

import "time"

// Process is how any process logs, shows its health and ends. The tags are those of kong.
type Process struct {
	HealthListen string        `name:"health-listen" env:"MAILFERRY_HEALTH_LISTEN" placeholder:"ADDR" help:"Address of /livez, /readyz and /metrics (a role: :8026, up: 127.0.0.1:8026; off: none)." group:"process"`
	LogLevel     string        `name:"log-level" env:"MAILFERRY_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" help:"Least level that is logged: ${enum}." group:"process"`
	LogFormat    string        `name:"log-format" env:"MAILFERRY_LOG_FORMAT" enum:"auto,console,json" default:"auto" help:"How to log: ${enum}; auto is console on a terminal, else json." group:"process"`
	DrainGrace   time.Duration `name:"drain-grace" env:"MAILFERRY_DRAIN_GRACE" default:"25s" help:"How long open work may take to finish after SIGTERM." group:"process"`
}

// Backends is where a role finds what it shares with the others.
type Backends struct {
	NATSURL      string `name:"nats-url" env:"MAILFERRY_NATS_URL" default:"nats://127.0.0.1:4222" placeholder:"URL" help:"NATS servers, separated by commas." group:"backends"`
	NATSCreds    string `name:"nats-creds" env:"MAILFERRY_NATS_CREDS" placeholder:"FILE" help:"Credentials file of the NATS account." group:"backends"`
	NATSReplicas int    `name:"nats-replicas" env:"MAILFERRY_NATS_REPLICAS" default:"1" placeholder:"N" help:"Replicas of every stream and bucket; 3 in production." group:"backends"`
	RedisURL     string `name:"redis-url" env:"MAILFERRY_REDIS_URL" default:"redis://127.0.0.1:6379" placeholder:"URL" help:"redis://, rediss:// or unix:// URL; further host:port after commas: a cluster, or with ?master=NAME its Sentinels." group:"backends"`
	RedisPool    int    `name:"redis-pool" env:"MAILFERRY_REDIS_POOL" default:"32" placeholder:"N" help:"Connections to one Redis node at most." group:"backends"`
	VaultKeyFile string `name:"vault-key-file" env:"MAILFERRY_VAULT_KEY_FILE" placeholder:"FILE" help:"File with the keys that seal passwords." group:"backends"`
}

// Common is what every role takes.
type Common struct {
	Process  `embed:""`
	Backends `embed:""`
}
