package testenv

import (
	"net"

	"github.com/nats-io/nats-server/v2/server"
)

func portOf(s *server.Server) int { return s.Addr().(*net.TCPAddr).Port }
