package services

import (
	_ "connectrpc.com/connect"
	_ "github.com/alecthomas/kong"
	_ "github.com/alecthomas/kong-yaml"
	_ "github.com/jedib0t/go-pretty/v6/table"
	_ "github.com/nats-io/nats-server/v2/server"
	_ "github.com/nats-io/nats.go"
	_ "github.com/nats-io/nats.go/jetstream"
	_ "github.com/redis/go-redis/v9"
	_ "github.com/schollz/progressbar/v3"
	_ "github.com/prometheus/client_golang/prometheus"
	_ "go.uber.org/goleak"
	_ "go.uber.org/zap"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/term"
	_ "github.com/emersion/go-imap/v2/imapclient"
	_ "google.golang.org/protobuf/encoding/protojson"
)
