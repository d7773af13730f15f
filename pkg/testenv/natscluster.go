package testenv

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// members is how many servers a cluster has.
	members = 3
	// routeHost is where they speak with each other: an address that nobody connects from, so that no connection has taken
	// one of their ports.
	routeHost = "127.0.0.77"
)

// NewNATSCluster starts three nats-servers that keep JetStream together; they end with the test. Streams have as many
// replicas as they are made with.
func NewNATSCluster(t testing.TB) *NATS {
	t.Helper()
	c := &NATS{t: t}
	var ports [members]int
	freePorts(t, routeHost, &ports[0], &ports[1], &ports[2])
	var routes []*url.URL
	for _, p := range ports {
		routes = append(routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort(routeHost, strconv.Itoa(p))})
	}
	var urls []string
	for i, p := range ports {
		n := &NATS{t: t, dir: TempDir(t), port: -1, adapt: func(o *server.Options) {
			o.ServerName, o.Routes = fmt.Sprintf("n%d", i), routes
			o.Cluster = server.ClusterOpts{Name: "test", Host: routeHost, Port: p}
		}}
		n.Start()
		c.members, urls = append(c.members, n), append(urls, n.URL)
	}
	c.URL = strings.Join(urls, ",")
	Eventually(t, time.Minute, "the cluster has a leader, and all follow it", func() bool {
		leaders := 0
		for _, n := range c.members {
			if n.srv.JetStreamIsLeader() {
				leaders += len(n.srv.JetStreamClusterPeers())
			}
		}
		return leaders == members
	})
	c.connect()
	return c
}

// Leader is the member of a cluster that leads a stream; it can be stopped and started again.
func (n *NATS) Leader(stream string) *NATS {
	n.t.Helper()
	var leader *NATS
	Eventually(n.t, time.Minute, "the stream has a leader", func() bool {
		for _, m := range n.members {
			if m.srv.Running() && m.srv.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				leader = m
			}
		}
		return leader != nil
	})
	return leader
}

// StepDown has the leaders of a stream and of one of its consumers step down (JetStream's API); others are chosen.
func (n *NATS) StepDown(stream, consumer string) {
	n.t.Helper()
	for _, subject := range []string{
		fmt.Sprintf(server.JSApiStreamLeaderStepDownT, stream),
		fmt.Sprintf(server.JSApiConsumerLeaderStepDownT, stream, consumer),
	} {
		m, err := n.Conn.Request(subject, nil, 10*time.Second)
		if err != nil || !strings.Contains(string(m.Data), `"success":true`) {
			n.t.Fatalf("%s: %s, %v", subject, m.Data, err)
		}
	}
}
