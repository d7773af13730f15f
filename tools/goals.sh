#!/usr/bin/env bash
# goals.sh GOAL… passes figures ("name value unit" lines) through and holds them against goals such as 'lag_p99_ms<1000' or
# 'ratio_2k>=0.85'. It fails if one is missed, or has no figure.
set -euo pipefail
awk -v goals="$*" '
  { print }
  NF >= 2 { value[$1] = $2 }
  END {
    for (n = split(goals, goal, " "); n > 0; n--) {
      match(goal[n], /[<>]=?/)
      name = substr(goal[n], 1, RSTART - 1); how = substr(goal[n], RSTART, RLENGTH); want = substr(goal[n], RSTART + RLENGTH) + 0
      had = name in value; v = value[name] + 0
      met = had && (how == "<" ? v < want : how == "<=" ? v <= want : how == ">" ? v > want : v >= want)
      printf "%s %s: %s, wanted %s %g\n", met ? "met   " : "MISSED", name, had ? v : "no figure", how, want
      if (!met) missed = 1
    }
    exit missed
  }'
