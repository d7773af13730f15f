#!/usr/bin/env bash
# packages.sh [--check] PACKAGE... installs the Debian packages that are missing, and starts none of
# their services. With --check it only says, by its exit status, whether one is missing.
set -euo pipefail

check=false
if [ "${1:-}" = --check ]; then check=true; shift; fi

if ! command -v dpkg-query >/dev/null; then
	echo "packages.sh: this is no Debian or Ubuntu; install what corresponds to: $*" >&2
	exit 1
fi
missing=()
for p in "$@"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi
if $check; then exit 1; fi

sudo=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || { echo "packages.sh: as root: apt-get install ${missing[*]}" >&2; exit 1; }
	sudo=(sudo)
fi
echo "installing ${missing[*]}; their services are not started"

# Maintainer scripts ask policy-rc.d before they start a service; 101 forbids it. One that is there is put
# back.
policy=/usr/sbin/policy-rc.d
saved=
restore() {
	if [ -n "$saved" ]; then "${sudo[@]}" mv "$saved" "$policy"; else "${sudo[@]}" rm -f "$policy"; fi
}
if [ -e "$policy" ]; then
	saved="$policy.mailferry"
	"${sudo[@]}" mv "$policy" "$saved"
fi
trap restore EXIT
trap 'exit 130' INT TERM
printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
"${sudo[@]}" chmod 755 "$policy"

apt() { "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@"; }
# The lists may be old or missing: they are fetched only if they are needed.
apt install -y --no-install-recommends "${missing[@]}" </dev/null ||
	{ apt update && apt install -y --no-install-recommends "${missing[@]}" </dev/null; }
