#!/usr/bin/env bash
# Print the path of a Python that saetrack runs on, or say exactly what to type.
# Looks at $PYTHON first, then python3.11, python3.12, python3.13 and python3 on PATH.
set -euo pipefail

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

if [ -n "${PYTHON:-}" ]; then
  candidates=("$PYTHON")
else
  candidates=(python3.11 python3.12 python3.13 python3)
fi

for name in "${candidates[@]}"; do
  path="$(command -v "$name" || true)"
  if [ -z "$path" ] || ! fits "$path"; then continue; fi
  # Debian splits ensurepip off into python3-venv; without it "python -m venv" fails half-way.
  if ! "$path" -c 'import ensurepip, venv' 2>/dev/null; then
    version="$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    echo "saetrack: $path cannot make virtual environments (no ensurepip)." >&2
    echo "Type:  apt-get install python3-venv      (or python$version-venv), as root, then run make again." >&2
    exit 1
  fi
  # Inside an activated environment, or a make that has put .venv first: the Python it was made from.
  "$path" -c 'import sys; print(getattr(sys, "_base_executable", None) or sys.executable)'
  exit 0
done

echo "saetrack: needs Python 3.11, 3.12 or 3.13; tried: ${candidates[*]}." >&2
echo "Type:  apt-get install python3 python3-venv      as root (Debian 12 has 3.11), or" >&2
echo "       make PYTHON=/path/to/python3.11 venv      if it is somewhere else." >&2
exit 1
