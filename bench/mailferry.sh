#!/bin/bash
# mailferry as a client of the side-by-side collection benchmark: one "mailferry up" with all roles, NATS embedded
# and redis-server as its child. Verbs and variables are the harness's: info, prepare, run, stop.
# MAILFERRY names the program. Its data lives in $STATE/data, so that what was seen survives stop and prepare.
set -u
M=${MAILFERRY:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.bin/mailferry}
export MAILFERRY_DATA=${STATE:-/nonexistent}/data
case $1 in
info) echo "delivers=lmtp protos=pop3,imap" ;;
prepare)
  setsid "$M" up --data "$MAILFERRY_DATA" --listen 127.0.0.1:0 --health-listen off --log-level warn --log-format json --triggers-per-minute 1000000 \
    --egress-allow 127.0.0.0/8 ${CA:+--remote-ca "$CA"} --slots "${SLOTS:-$PAR}" >>"$STATE/log" 2>&1 </dev/null &
  echo $! >"$STATE/pids"
  for _ in $(seq 300); do "$M" status >/dev/null 2>&1 && break; sleep 0.1; done
  "$M" settings set destination="lmtp:unix:$LMTP_UNIX" interval=24h >/dev/null || exit 1
  pw=$STATE/password
  mode=disable; [ -n "$CA" ] && mode=direct
  if [ ! -f "$STATE/added" ]; then
    while IFS=$'\t' read -r user password rcpt; do
      [ -f "$pw" ] || (umask 077; printf %s "$password" >"$pw")
      printf '%s\0%s\0' "$user" "$rcpt"
    done <"$ACCOUNTS" | xargs -0 -n 2 -P 4 sh -c '"$0" account add "bench.test/$7" --protocol "$1" --host "$2:$3" --tls "$4" \
      --username "$7" --password-file "$5" --forward-to "$8" >>"$6" 2>&1' "$M" "$PROTO" "$HOST" "$PORT" "$mode" "$pw" "$STATE/log" || exit 1
    touch "$STATE/added"
  fi ;;
run) "$M" fetch --all --wait >>"$STATE/log" 2>&1 ;;
stop)
  [ -f "$STATE/pids" ] || exit 0
  pid=$(cat "$STATE/pids")
  kill "$pid" 2>/dev/null
  for _ in $(seq 300); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null
  rm -f "$STATE/pids" ;;
esac
exit $?
