#!/usr/bin/env bash
# Breaks each promise by hand: for every breaks/NAME.patch, in a copy of the tree, applies it and runs the test that its
# first line names ("# test: PACKAGE REGEXP"), which must fail. Without arguments: all of them.
set -uo pipefail
cd "$(dirname "$0")/.."
names=("$@")
[ ${#names[@]} -gt 0 ] || mapfile -t names < <(cd breaks && ls -- *.patch | sed 's/\.patch$//')
copy=$(mktemp -d /tmp/mfbreaks.XXXX)
trap 'rm -rf "$copy"' EXIT
bad=0
for name in "${names[@]}"; do
  patch=$PWD/breaks/$name.patch
  read -r _ _ package regexp < <(head -n 1 "$patch")
  rm -rf "$copy/tree"
  mkdir "$copy/tree"
  git ls-files -z --cached --others --exclude-standard | xargs -0 tar cf - --ignore-failed-read 2>/dev/null | tar xf - -C "$copy/tree"
  if ! (cd "$copy/tree" && git apply --whitespace=nowarn "$patch"); then
    echo "STALE    $name: the patch does not apply any more"
    bad=1
    continue
  fi
  if (cd "$copy/tree" && go vet "$package" && go test -count=1 -timeout 10m "$package" -run "$regexp") >"$copy/log" 2>&1; then
    echo "UNSEEN   $name: $package $regexp passes all the same"
    bad=1
  elif grep -qE '^(--- FAIL|panic:)' "$copy/log"; then
    echo "caught   $name: $(grep -m1 -oE 'FAIL: [^ ]+' "$copy/log") $(grep -m1 -E '_test.go:[0-9]+: ' "$copy/log" | sed 's/^ *//' | cut -c1-140)"
  else
    echo "BROKEN   $name: the test did not run"
    tail -n 5 "$copy/log"
    bad=1
  fi
done
exit "$bad"
