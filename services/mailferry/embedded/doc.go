// Package embedded runs NATS and Redis for a single host: nats-server inside this process, redis-server
// as its child on a unix socket, both with their data in one folder.
//
// The folder belongs to one process at a time. The redis-server ends when its parent does, however the
// parent ended; one that is still on its way out is waited for, so two never write the same files.
package embedded
