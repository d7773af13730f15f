#!/bin/bash
# The side-by-side collection benchmark: mailferry, its best peers and the limit, in one run against the same servers.
# Prints one "name value unit" line a figure. The harness is a folder beside the repository, or $MAILBENCH.
#   collect.sh [SCENARIO…]   default: A D
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
harness=${MAILBENCH:-$here/../../shared/bench}
[ -x "$harness/bench.py" ] || { echo "no benchmark harness at $harness: set MAILBENCH" >&2; exit 1; }
work=$(mktemp -d /tmp/mfbench.XXXX)
trap '(cd "$work/bench" && ./remote-down.sh --wipe >/dev/null 2>&1); rm -rf "$work"' EXIT
cp -r "$harness" "$work/bench"
cd "$work/bench"
unset BENCH_ROOT
./remote-up.sh >/dev/null
runs=${RUNS:-3}
measure() { # scenario protocol client options…
  local s=$1 p=$2 c=$3; shift 3
  ./bench.py "$s" "$p" "$c" --sink --runs "$runs" --label "$(basename "$c" .sh)" "$@" --out "$work/out.jsonl" >/dev/null || echo "# $s $p $c failed" >&2
}
for s in ${@:-A D}; do
  for p in pop3 imap; do
    measure "$s" "$p" "$here/mailferry.sh"
    measure "$s" "$p" fetchmail
    if [ "$s$p" = Aimap ]; then measure "$s" "$p" mbsync; fi
    if [ "$s" = A ]; then measure "$s" "$p" limit --variant lmtp; else measure "$s" "$p" limit; fi
  done
done
python3 - "$work/out.jsonl" <<'E2'
import collections, json, statistics, sys
rows = collections.defaultdict(list)
for l in open(sys.argv[1]):
    r = json.loads(l)
    rows[r['scenario'], r['proto'], r['client']].append(r)
for (s, p, c), rs in rows.items():
    bad = [r for r in rs if r['rc'] != 0 or r['timed_out'] or (r['got'] is not None and r['got'] != r['want'])]
    wall = statistics.median(r['wall'] for r in rs)
    unit, n = ('accounts/s', rs[0]['accounts']) if s in 'DG' else ('messages/s', rs[0]['want'])
    name = f"{s}_{p}_{c}"
    print(f"{name} {n / wall:.0f} {unit}" + (' # NOT A RESULT' if bad else ''))
    print(f"{name}_client_cpu {statistics.median(r['client_cpu'] for r in rs):.2f} s")
    print(f"{name}_all_cpu {statistics.median(r['client_cpu'] + r['remote_cpu'] + r['sink_cpu'] for r in rs):.2f} s")
    print(f"{name}_rss {statistics.median(r['rss_mb'] for r in rs):.0f} MB")
E2
