#!/usr/bin/env bash
# Make the bedtools program available: install_bedtools.sh [VENV, default .venv]
#
# pybedtools calls the program bedtools, which no Python package carries. In this order:
#   1. already on PATH or in VENV/bin: nothing to do;
#   2. root: apt-get install bedtools;
#   3. not root (or BEDTOOLS_INSTALL=local): download Debian's package, unpack it into VENV/bedtools
#      and link VENV/bin/bedtools to it. Nothing outside VENV changes;
#   4. otherwise say what to type, and fail.
set -euo pipefail

venv="${1:-.venv}"
mode="${BEDTOOLS_INSTALL:-auto}"

works() { "$1" --version 2>/dev/null | grep -q '^bedtools v'; }

give_up() {
  echo "saetrack: bedtools is missing and could not be installed: $1" >&2
  echo "Type:  sudo apt-get install bedtools        (Debian, Ubuntu)" >&2
  echo "       brew install bedtools                (macOS)" >&2
  echo "       conda install -c bioconda bedtools   (elsewhere), then run make again." >&2
  exit 1
}

case "$mode" in
  auto | local) ;;
  *) give_up "BEDTOOLS_INSTALL is '$mode'; allowed: auto, local" ;;
esac

if [ -x "$venv/bin/bedtools" ] && works "$venv/bin/bedtools"; then exit 0; fi
if [ "$mode" = auto ] && command -v bedtools >/dev/null && works bedtools; then exit 0; fi

command -v apt-get >/dev/null || give_up "this machine has no apt-get"
log="$(mktemp)"
scratch="$(mktemp -d)"
trap 'rm -rf "$log" "$scratch"' EXIT

if [ "$mode" = auto ] && [ "$(id -u)" = 0 ]; then
  echo "installing bedtools with apt-get"
  if ! { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends bedtools; } \
    </dev/null >"$log" 2>&1; then
    give_up "apt-get said: $(tail -n 1 "$log")"
  fi
  works bedtools || give_up "the program installed by apt-get does not start"
  exit 0
fi

echo "installing bedtools into $venv/bedtools (no root needed)"
mkdir -p "$venv/bin" "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/download"
# Lists of our own: the system's may be absent or old, and only root may renew them.
apt_own=(apt-get -qq -o "Dir::State::Lists=$scratch/lists" -o "Dir::Cache=$scratch/cache"
  -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)")
if ! { "${apt_own[@]}" update && (cd "$scratch/download" && "${apt_own[@]}" download bedtools); } \
  </dev/null >"$log" 2>&1; then
  give_up "apt-get said: $(tail -n 1 "$log")"
fi
rm -rf "$venv/bedtools"
dpkg -x "$scratch"/download/bedtools_*.deb "$venv/bedtools" || give_up "dpkg could not unpack the package"
missing="$(ldd "$venv/bedtools/usr/bin/bedtools" | sed -n 's/^[[:space:]]*\(.*\) => not found/\1/p' | tr '\n' ' ')"
[ -z "$missing" ] || give_up "these libraries are missing: $missing"
ln -sfn ../bedtools/usr/bin/bedtools "$venv/bin/bedtools"
works "$venv/bin/bedtools" || give_up "the unpacked program does not start"
