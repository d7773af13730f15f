#!/usr/bin/env bash
# proto-current.sh generates the Go code of the protocol files elsewhere and compares it with what is
# committed.
set -euo pipefail
cd "$(dirname "$0")/../proto"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
../.bin/buf generate -o "$tmp"
if ! diff -r -q -x '*.proto' "$tmp/mailferry" mailferry; then
	echo "proto-current.sh: the generated code is not current: run task proto" >&2
	exit 1
fi
