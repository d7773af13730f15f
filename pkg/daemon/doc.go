// Package daemon is what every process of mailferry shares: flags, log, health and metrics, the
// connections to NATS and Redis, and a life that ends in two steps.
//
// A process opens its connections with [ConnectNATS] and [ConnectRedis], which wait a while for a
// server that is not up yet, and hands its work to [Signals.Run] as [Part]s. The first SIGTERM or
// SIGINT drains them in the order given: each takes no more work and finishes what is open, for as
// long as the grace lasts; then its context ends and its goroutines are waited for. A second signal
// ends all contexts at once, a third one gives up waiting.
//
// The package opens connections and never uses them: what travels over them belongs to the rooms.
package daemon
