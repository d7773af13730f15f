#!/usr/bin/env bash
# The acceptance points of remote sessions, one by one; each on real servers where a real one can show it. FUZZTIME is how
# long each parser is fuzzed (10m for the whole of point d). The speed (e) needs an otherwise idle machine and the harness of
# the benchmark: without it the point fails. RUNS is how often each client runs there.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0
point() { # name, command…
  local name=$1; shift
  printf '\n== %s\n   %s\n' "$name" "$*"
  if "$@"; then printf '   PASS %s\n' "$name"; else printf '   FAIL %s\n' "$name"; failed=1; fi
}
tests() { go test -count=1 -timeout 20m "$1" -run "$2"; }
speed() { RUNS=${RUNS:-5} bench/collect.sh A E F G | bench/goals.py; }
point "a   what breaks others: each message once, whole; nothing left for ever" tests ./services/e2e '^TestMatrix(Killed)?$'
point "b   servers with habits" tests ./pkg/remote/... 'Quirk|Dialogues'
point "b2  hostile servers, and their neighbours" tests ./pkg/remote/... 'Hostile|Guard|Drip|Secrets|TimesOut'
point "b3  other accounts are unharmed" tests ./services/e2e '^TestHostileNeighbours$'
point "c   one body for Dovecot, Cyrus and the scripted server" tests ./pkg/remote/... '^TestSessionWith'
point "d   fuzz" tools/fuzz.sh "${FUZZTIME:-10s}"
point "e   speed against the limit and the peers" speed
point "f   OAuth 2.0: one refresh for three workers" tests ./services/e2e '^TestOAuth2$'
printf '\n'
exit "$failed"
