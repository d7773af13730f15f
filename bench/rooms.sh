#!/bin/bash
# Go benchmarks of the rooms, one "name value unit" line a figure.
set -euo pipefail
cd "$(dirname "$0")/../pkg"
go test -run '^$' -bench . -benchtime "${BENCHTIME:-2s}" ./... 2>/dev/null |
  awk '/^Benchmark/ { name = $1; sub(/^Benchmark/, "", name); sub(/-[0-9]+$/, "", name); for (i = 3; i < NF; i += 2) print name, $i, $(i + 1) }'
