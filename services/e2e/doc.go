// Package e2e holds the tests of the whole house: the real binary, role by role, on real Dovecot,
// redis-server and nats-server, killed and stopped at every step. It has no code of its own.
package e2e
