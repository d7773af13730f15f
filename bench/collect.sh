#!/bin/bash
# The side-by-side collection benchmark: mailferry, its best peers and the limit, interleaved, against the same
# servers in the same minutes. Prints one "name value unit" line a figure; what is no result is said on standard
# error, and makes the script fail. The harness is a folder beside the repository, or $MAILBENCH.
#   collect.sh [SCENARIO…]   default: A D; the harness knows A to G
#   RUNS      runs of each client; default 3
#   PAR       accounts at once; default 8, and 64 in G
#   PROTOS    default "pop3 imap"
#   CUT       seconds after which a client that collects is cut off; the rate until then counts; default 30
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
harness=${MAILBENCH:-$here/../../shared/bench}
[ -x "$harness/bench.py" ] || { echo "no benchmark harness at $harness: set MAILBENCH" >&2; exit 1; }
for program in fetchmail mbsync dovecot openssl python3; do
  PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || { echo "$program is missing: 'task bench:packages' installs what the benchmark needs" >&2; exit 1; }
done
work=$(mktemp -d /tmp/mfbench.XXXX)
trap '(cd "$work/bench" && ./remote-down.sh --wipe >/dev/null 2>&1); rm -rf "$work"' EXIT
cp -r "$harness" "$work/bench"
cd "$work/bench"
rm -f .current
unset BENCH_ROOT
./remote-up.sh >/dev/null

measure() { # scenario protocol runs client options…
  local s=$1 p=$2 n=$3 c=$4 par=${PAR:-8}
  shift 4
  [ "$s" = G ] && par=${PAR:-64}
  ./bench.py "$s" "$p" "$c" --sink --runs "$n" --par "$par" --label "$(basename "$c" .sh)" "$@" --out "$work/out.jsonl" \
    >/dev/null 2>"$work/err" || { echo "# $s $p $(basename "$c" .sh) failed:" >&2; tail -n 5 "$work/err" >&2; touch "$work/failed"; }
}
round() { # scenario protocol runs: every client once
  local s=$1 p=$2 n=$3 cut=()
  [[ $s = [ABCE] ]] && cut=(--limit-seconds "${CUT:-30}")
  measure "$s" "$p" "$n" "$here/mailferry.sh"
  measure "$s" "$p" "$n" fetchmail "${cut[@]}"
  # mbsync delivers into Maildirs, and is started for each account anew: it is a peer where there is one.
  if [ "$p" = imap ] && [[ $s = [AEF] ]]; then measure "$s" "$p" "$n" mbsync "${cut[@]}"; fi
  case $s in
  D | G) measure "$s" "$p" "$n" limit ;; # nothing is delivered
  *) measure "$s" "$p" "$n" limit --variant lmtp ;;
  esac
}
runs=${RUNS:-3}
[ $# -gt 0 ] || set -- A D
for s in "$@"; do
  for p in ${PROTOS:-pop3 imap}; do
    case $s in
    D | F | G) round "$s" "$p" "$runs" ;; # each client is primed first, once
    *) for _ in $(seq "$runs"); do round "$s" "$p" 1; done ;;
    esac
  done
done
python3 "$here/figures.py" "$work/out.jsonl" || touch "$work/failed"
[ ! -e "$work/failed" ]
