#!/usr/bin/env bash
# Make a browser available to the tests of pages: install_chromium.sh
#
# Already here: nothing to do. Root: apt-get install. Otherwise it says so, and these tests are
# skipped, loudly, but where CI_REQUIRE_SERVERS=1 (.ci/run) this fails.
set -euo pipefail

if command -v chromium >/dev/null; then exit 0; fi

give_up() {
  echo "saetrack: Chromium is missing and could not be installed: $1" >&2
  echo "Type:  sudo apt-get install chromium   (Debian, Ubuntu), then run make again." >&2
  if [ "${CI_REQUIRE_SERVERS:-0}" = 1 ]; then exit 1; fi
  echo "THE TESTS OF PAGES IN A BROWSER WILL BE SKIPPED" >&2
  exit 0
}

command -v apt-get >/dev/null || give_up "this machine has no apt-get"
[ "$(id -u)" = 0 ] || give_up "only root installs packages"
echo "installing chromium with apt-get"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
if ! { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium; } \
  </dev/null >"$log" 2>&1; then
  give_up "apt-get said: $(tail -n 1 "$log")"
fi
command -v chromium >/dev/null || give_up "the package holds another program than expected"
