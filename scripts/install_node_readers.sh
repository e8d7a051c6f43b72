#!/usr/bin/env bash
# Install what JBrowse 2 reads files with, for tests: install_node_readers.sh [VENV, default .venv]
#
# Exact versions from tests/node_readers/package-lock.json, into VENV/node, without running any
# package's own scripts. Where node or npm is missing, or the registry cannot be reached, this says so
# and succeeds: the tests are then skipped, and say so too.
set -euo pipefail

venv="${1:-.venv}"
lock=tests/node_readers
target="$venv/node"

skip() {
  echo "NOT CHECKED: $1, so JBrowse's readers are not tried (apt-get install nodejs npm)" >&2
  exit 0
}

if [ -d "$target/node_modules" ] && cmp -s "$lock/package-lock.json" "$target/package-lock.json"; then exit 0; fi
command -v node >/dev/null || skip "node is missing"
command -v npm >/dev/null || skip "npm is missing"

echo "installing JBrowse's readers into $target"
rm -rf "$target"
mkdir -p "$target"
cp "$lock/package.json" "$target/"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
cp "$lock/package-lock.json" "$target/"
if ! npm ci --prefix "$target" --ignore-scripts --no-audit --no-fund </dev/null >"$log" 2>&1; then
  rm -rf "$target"
  skip "npm said: $(grep -v '^npm warn' "$log" | tail -n 1)"
fi
