#!/bin/sh
# Installs ydash @VERSION@ for this machine, after comparing it with the checksums that were published beside it:
#
#   curl -fsSL https://github.com/ydash/ydash/releases/download/v@VERSION@/install.sh | sh
#
# YDASH_INSTALL_DIR is where to (by default /usr/local/bin for root, else ~/.local/bin), YDASH_RELEASES where from.

set -eu

main() {
  version=@VERSION@
  releases=${YDASH_RELEASES:-https://github.com/ydash/ydash/releases/download/v$version}
  if [ "$(id -u)" -eq 0 ]; then place=/usr/local/bin; else place=$HOME/.local/bin; fi
  place=${YDASH_INSTALL_DIR:-$place}
  [ "$(uname -s)" = Linux ] || fail "there is a binary for Linux only; build ydash with cargo"
  name=ydash-$version-$(uname -m)-linux

  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  fetch "$name.tar.gz"
  fetch SHA256SUMS
  (cd "$work" && grep " $name.tar.gz\$" SHA256SUMS | sha256sum -c - > /dev/null) || fail "$name.tar.gz is not what was published"
  tar -C "$work" -xzf "$work/$name.tar.gz"
  mkdir -p "$place"
  install -m 755 "$work/$name/ydash" "$place/ydash"
  "$place/ydash" --version
  echo "installed in $place; start it with: ydash"
}

fetch() {
  curl -fsSL "$releases/$1" -o "$work/$1" || fail "cannot fetch $releases/$1"
}

fail() {
  echo "install.sh: $1" >&2
  exit 1
}

# As the last line, so that nothing runs of a script that arrives in part.
main
