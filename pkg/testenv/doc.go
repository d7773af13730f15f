// Package testenv starts the real parts that tests run against: redis-server and dovecot as child
// processes, nats-server in process, and scripted servers for what no real one can be made to do.
// It is imported from tests only.
package testenv
