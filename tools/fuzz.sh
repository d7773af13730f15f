#!/usr/bin/env bash
# fuzz.sh TIME runs every fuzz target of the three modules for TIME each, or for a number of inputs (2000x). An input that breaks one is
# written to testdata/fuzz of its package and belongs in the commit that mends it.
set -euo pipefail
cd "$(dirname "$0")/.."

while IFS=: read -r file target; do
	echo "fuzz $(dirname "$file") $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "./$(dirname "$file")"
done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' pkg services | sed 's/func //' | sort)
