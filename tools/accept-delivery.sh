#!/usr/bin/env bash
# The acceptance points of delivery, one by one; each on real Dovecot (LMTP with Sieve, IMAP), Postfix and Maildirs where
# a real one can show it. The rate (e) needs an otherwise idle machine.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0
point() { # name, command…
  local name=$1; shift
  printf '\n== %s\n   %s\n' "$name" "$*"
  if "$@"; then printf '   PASS %s\n' "$name"; else printf '   FAIL %s\n' "$name"; failed=1; fi
}
tests() { go test -count=1 -timeout 20m "$1" -run "$2"; }
rate() { BENCH_DELIVERY=1 go test -count=1 -timeout 30m ./services/e2e -run '^TestDeliveryRate$' -v | grep -E '^[a-z]+_|FAIL|ok|rate_test' |
  tools/goals.sh 'ratio_2k>=0.85' 'ratio_20k>=0.85' 'ratio_5m>=0.85' 'rss_5m<128'; }
# The first seconds of an outage, in which each message is tried once, are to it what they are to an hour.
down() { OUTAGE=${OUTAGE:-5m} BENCH_DESTINATION_DOWN=1 go test -count=1 -timeout 30m ./services/e2e -run '^TestDestinationDownRate$' -v | grep -E '^[a-z]+_|FAIL|ok|outage' |
  tools/goals.sh 'others_p50_ratio<=1.2' 'others_p99_ratio<=1.2' 'same_lane_p50_ratio<=1.2'; }
point "a   215 headers and their recipients; delivered + fallback + rejected = input" tests ./pkg/route '^(TestCorpus|TestRules|TestEveryMessageIsAccountedFor)$'
point "a2  Domain POP into Dovecot" tests ./services/e2e '^TestDomainPOP$'
point "b   Dovecot with Sieve, Postfix with STARTTLS and AUTH" tests ./pkg/local/lmtp '^Test(Sieve|Postfix)'
point "b1  a filter acts on an address and not on a mailbox path" tests ./services/e2e '^TestSieveActsOnAddressesOnly$'
point "b2  a tree of 300 mailboxes by APPEND, twice" tests ./services/e2e '^TestTree$'
point "b3  a Maildir, and a crash at each step" tests ./pkg/local/maildir '^(TestRepeatAfterACrashMakesNoCopy|TestDovecotReadsMailboxes)$'
point "b4  a tree of mailboxes in a Maildir, twice" tests ./services/e2e '^TestMaildirTree$'
point "b5  no second copy of an APPEND whose answer was lost, or whose delivery died" tests ./services/e2e '^TestAppend'
point "c   a thousand generated messages arrive as they were sent" tests ./pkg/local/... '^TestIdentity'
point "d   what a destination can do at each command" tests ./pkg/local/... '^Test(Matrix|Half|Answers|SMTPAnswers|Lost)|Refused|HangsUp'
point "d2  copies, refusals and fallbacks; a destination that is down, full, or silent" tests ./services/e2e '^(TestCopiesArriveOnceEach|TestRefusedGoesToThePostmaster|TestDestination.*|TestGivenUpAfterDays|TestOverQuota)$'
point "d3  50,000 messages in TRANSIT, and their destination is down: what others notice" down
point "5   an account that is deleted leaves nothing" tests ./services/e2e '^TestErasure$'
point "e   delivery alone, beside a bare client" rate
printf '\n'
exit "$failed"
