#!/bin/sh
# Makes what the fleet must not share with the world: the vault key file and the API token, once.
set -eu
cd "$(dirname "$0")"
mkdir -p keys
[ -s keys/vault.json ] || docker compose run --rm --no-deps --entrypoint mailferry -v "$PWD/keys:/keys" control vault init /keys/vault.json
[ -s keys/control.token ] || (umask 077; head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >keys/control.token)
