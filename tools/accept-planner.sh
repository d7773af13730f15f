#!/usr/bin/env bash
# The acceptance points of the planner, one by one, on real Redis and NATS. All of it takes about fifty minutes, most of it for the
# points that last ten real minutes, and needs an otherwise idle machine. ACCOUNTS is how many the benchmarks of planner and directory make.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0
point() { # name, command…
  local name=$1; shift
  printf '\n== %s\n   %s\n' "$name" "$*"
  if "$@"; then printf '   PASS %s\n' "$name"; else printf '   FAIL %s\n' "$name"; failed=1; fi
}
tests() { go test -count=1 -timeout 20m "$1" -run "$2"; }
bench() { # variable=value test goals…
  local test=$2 set=$1; shift 2
  env "$set" go test -count=1 -timeout 90m ./services/e2e -run "^$test\$" -v | grep -E '^[a-z]+_|FAIL|ok|_test\.go' | tools/goals.sh "$@"
}
ACCOUNTS=${ACCOUNTS:-1000000}
point "a   a planner of a million accounts" bench BENCH_PLANNER="$ACCOUNTS" TestPlannerRate \
  'planner_lag_p99_ms<1000' 'planner_cpu<=0.5' 'planner_jobs>=3300' 'planner_rebuild<60' 'planner_redis_planning<=300' 'planner_claim_commit>=20000'
point "a2  a directory of a million accounts" bench BENCH_DIRECTORY="$ACCOUNTS" TestDirectoryRate 'directory_get_p99_ms<5' 'directory_list_p99_ms<50'
point "b   ten minutes of planners that die, and Redis, and the NATS that leads" bench BENCH_PLANNER_CRASH=1 TestPlannersDieForReal
point "c   Connect Now, with every other slot taken" bench BENCH_CONNECT_NOW=300 TestConnectNowRate \
  'connect_now_p50_ms<50' 'connect_now_p99_ms<500' 'connect_now_cpu_machine<80' 'connect_now_slots_not_full<=1'
point "d   ten minutes of a provider with 10 sessions and 60 logins a minute" bench BENCH_GOVERNOR=10 TestGovernorRate \
  'governor_sessions_most<=12' 'governor_logins_most_in_a_minute<=62' 'governor_budget_used>=95' 'governor_others_turns_had>=99'
point "e   a tenant whose servers hang" bench BENCH_HOSTILE_TENANT=100000 TestHostileTenantRate 'lag_grows_ms<2000'
point "f   the schedule and its twin, a million times" env MAILFERRY_SCHEDULE_CASES=1000000 go test -count=1 -timeout 60m ./pkg/schedule -run '^TestTwin$'
point "f2  Lua and Go decide alike; no account is lost" tests ./pkg/due '^TestModel$'
point "f3  as do those of the remote hosts" tests ./pkg/budget .
printf '\n'
exit "$failed"
