#!/usr/bin/env bash
# cyrus.sh [--check] unpacks Debian's Cyrus IMAP for the tests into the user's cache folder. Debian's packages of
# Cyrus exclude those of Dovecot, which the tests need too: so that nothing is installed, no user is made and no
# service set up, but three programs lie in a folder with their libraries, and with one that spares them fsync.
# With --check it only says, by its exit status, whether they are there and run.
set -euo pipefail

dest="${XDG_CACHE_HOME:-$HOME/.cache}/mailferry/cyrus"
programs=(master imapd pop3d)

complete() { # FOLDER: every program and every library is there
	local p
	for p in "${programs[@]}"; do [ -x "$1/bin/$p" ] || return 1; done
	[ -e "$1/lib/libeatmydata.so" ] && ! LD_LIBRARY_PATH="$1/lib" ldd "$1"/bin/* | grep -q 'not found'
}
if complete "$dest"; then exit 0; fi
if [ "${1:-}" = --check ]; then exit 1; fi

if ! command -v dpkg-deb >/dev/null; then
	echo "cyrus.sh: this is no Debian or Ubuntu; put master, imapd and pop3d of Cyrus IMAP 3.6 into $dest/bin" >&2
	exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

apt() { apt-get -qq -o APT::Sandbox::User="$(id -un)" "$@"; }
# What would be installed says what is missing here; the programs need libraries alone of it.
get() {
	local libs
	libs=$(apt -s install --no-install-recommends cyrus-imapd cyrus-pop3d) &&
		apt download cyrus-common cyrus-imapd cyrus-pop3d libeatmydata1 $(awk '/^Inst lib/ { print $2 }' <<<"$libs")
}
echo "unpacking Cyrus IMAP into $dest; it is not installed"
# The lists may be old or missing: they are fetched only if they are needed.
get 2>/dev/null || {
	sudo=()
	[ "$(id -u)" -eq 0 ] || sudo=(sudo)
	"${sudo[@]}" apt-get -qq update
	get
}
for deb in *.deb; do dpkg-deb -x "$deb" root; done

mkdir -p new/bin new/lib
for p in "${programs[@]}"; do cp "root/usr/lib/cyrus/bin/$p" new/bin/; done
libs=$(find "$PWD/root" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
LD_LIBRARY_PATH="$libs" ldd new/bin/* | awk -v root="$PWD/root/" 'index($3, root) == 1 { print $3 }' | sort -u |
	while read -r lib; do cp "$lib" new/lib/; done
cp "$(find root -name 'libeatmydata.so' -o -name 'libeatmydata.so.*.*' | head -n 1)" new/lib/libeatmydata.so
complete new || { echo "cyrus.sh: the programs of Cyrus do not run here:" >&2; LD_LIBRARY_PATH=new/lib ldd new/bin/* >&2; exit 1; }
mkdir -p "$(dirname "$dest")"
rm -rf "$dest"
mv new "$dest"
