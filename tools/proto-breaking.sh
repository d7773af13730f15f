#!/usr/bin/env bash
# proto-breaking.sh compares the protocol files with those of the main branch: what is in use there must
# still be understood. A tree without a main branch, or a main without protocol files, has nobody to
# break.
set -euo pipefail
cd "$(dirname "$0")/.."

base=
for ref in refs/remotes/origin/main refs/heads/main; do
	if git rev-parse --quiet --verify "$ref^{commit}" >/dev/null 2>&1 && git cat-file -e "$ref:proto/buf.yaml" 2>/dev/null; then
		base=$ref
		break
	fi
done
if [ -z "$base" ]; then
	echo "proto-breaking.sh: no main branch with protocol files to compare with"
	exit 0
fi
# From an archive: buf itself cannot read every kind of checkout (worktrees, shallow clones).
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
git archive "$base" proto | tar -x -C "$tmp"
.bin/buf breaking proto --against "$tmp/proto"
