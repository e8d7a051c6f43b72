#!/usr/bin/env bash
# Make redis-server and postgres available to the tests: install_servers.sh [VENV, default .venv]
#
# In this order, as scripts/install_bedtools.sh does for bedtools:
#   1. already here: nothing to do;
#   2. root: apt-get install (no service is started);
#   3. not root (or SERVERS_INSTALL=local): download Debian's packages and unpack them into VENV/servers;
#   4. otherwise say so. Then the tests that need the servers are skipped, loudly, but where
#      CI_REQUIRE_SERVERS=1 (.ci/run) this fails.
set -euo pipefail

venv="${1:-.venv}"
mode="${SERVERS_INSTALL:-auto}"
packages=(redis-server postgresql)

have() { # have redis-server | have postgres
  command -v "$1" >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null ||
    compgen -G "$venv/servers/usr/bin/$1" >/dev/null || compgen -G "$venv/servers/usr/lib/postgresql/*/bin/$1" >/dev/null
}
all_here() { have redis-server && have postgres && have initdb; }

give_up() {
  echo "saetrack: Redis and PostgreSQL are missing and could not be installed: $1" >&2
  echo "Type:  sudo apt-get install redis-server postgresql   (Debian, Ubuntu), then run make again." >&2
  if [ "${CI_REQUIRE_SERVERS:-0}" = 1 ]; then exit 1; fi
  echo "THE TESTS ON REAL SERVERS WILL BE SKIPPED" >&2
  exit 0
}

case "$mode" in
  auto | local) ;;
  *) echo "SERVERS_INSTALL is '$mode'; allowed: auto, local" >&2; exit 1 ;;
esac

if all_here; then exit 0; fi
command -v apt-get >/dev/null || give_up "this machine has no apt-get"
log="$(mktemp)"
scratch="$(mktemp -d)"
trap 'rm -rf "$log" "$scratch"' EXIT

if [ "$mode" = auto ] && [ "$(id -u)" = 0 ]; then
  echo "installing ${packages[*]} with apt-get"
  # a cluster of the system's own is neither needed nor wanted
  if ! { apt-get -qq update &&
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${packages[@]}"; } \
    </dev/null >"$log" 2>&1; then
    give_up "apt-get said: $(tail -n 1 "$log")"
  fi
  all_here || give_up "the packages hold other programs than expected"
  exit 0
fi

echo "unpacking ${packages[*]} into $venv/servers (no root needed)"
mkdir -p "$venv" "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/download"
apt_own=(apt-get -qq -o "Dir::State::Lists=$scratch/lists" -o "Dir::Cache=$scratch/cache"
  -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)")
if ! "${apt_own[@]}" update </dev/null >"$log" 2>&1; then give_up "apt-get said: $(tail -n 1 "$log")"; fi
# what the packages need that this machine does not have; names alone, since install needs root
wanted="$("${apt_own[@]}" -s install --no-install-recommends "${packages[@]}" 2>"$log" | awk '/^Inst /{print $2}')" ||
  give_up "apt-get said: $(tail -n 1 "$log")"
if ! (cd "$scratch/download" && "${apt_own[@]}" download $wanted) </dev/null >"$log" 2>&1; then
  give_up "apt-get said: $(tail -n 1 "$log")"
fi
rm -rf "$venv/servers"
for package in "$scratch"/download/*.deb; do
  dpkg -x "$package" "$venv/servers" || give_up "dpkg could not unpack $package"
done
for program in "$venv"/servers/usr/bin/redis-server "$venv"/servers/usr/lib/postgresql/*/bin/{postgres,initdb}; do
  missing="$(LD_LIBRARY_PATH="$PWD/$venv/servers/usr/lib/$(uname -m)-linux-gnu" ldd "$program" 2>/dev/null |
    sed -n 's/^[[:space:]]*\(.*\) => not found/\1/p' | tr '\n' ' ')"
  [ -z "$missing" ] || give_up "these libraries are missing: $missing"
done
