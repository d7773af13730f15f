#!/usr/bin/env bash
# The acceptance points of "one message, all the way", one by one; each on real Dovecot, redis-server and nats-server.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0
point() { # name, command…
  local name=$1; shift
  printf '\n== %s\n   %s\n' "$name" "$*"
  if "$@"; then printf '   PASS %s\n' "$name"; else printf '   FAIL %s\n' "$name"; failed=1; fi
}
e2e() { go test -count=1 -timeout 20m ./services/e2e -run "$1"; }
demo() { go build -trimpath -o .bin/mailferry ./services/mailferry && go build -o .bin/demo ./services/demo && .bin/demo --once; }
point "a   demo: every seeded message once, byte for byte" demo
point "b   crash matrix" e2e '^TestCrashMatrix$'
point "b2  model of the ledger" go test -count=1 -timeout 10m ./pkg/ledger -run Model
point "c   streams lost, store emptied" e2e '^(TestStreamsLostInTransit|TestStoreEmptied)$'
point "d   one session per remote mailbox; a stopped worker" e2e '^(TestOneSessionPerRemoteMailbox|TestDeleteWaitsForEveryAccount|TestStoppedWorkerChangesNothing)$'
point "e   destination refuses for a minute, and for good" e2e '^(TestDestinationRefusesForAMinute|TestDestinationRefusesForGood)$'
point "f   Redis and NATS restarted in mid-run" e2e '^(TestRedisRestartedInMidRun|TestNATSRestartedInMidRun)$'
point "g   memory of a worker with a message of 100 MB" e2e '^TestLargeMessageMemory$'
point "h   bad input, and no password in anything written" e2e '^TestBadInput$'
printf '\n'
exit "$failed"
