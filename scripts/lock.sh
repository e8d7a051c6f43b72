#!/usr/bin/env bash
# Write requirements/{base,dev,sae-lens}.lock: the newest versions that pyproject.toml allows, tried by installing them.
# requirements/torch.lock is edited by hand. Run `make test test-slow` before committing what comes out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="$(bash scripts/find_python.sh)"
torch="${TORCH_SPEC:-$(sed '/^#/d' requirements/torch.lock)}"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

# What a list of pyproject.toml asks for, torch apart: wanted dependencies | wanted dev | wanted sae-lens
wanted() {
  "$python" - "$1" <<'PY'
import re, sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
lists = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
print("\n".join(line for line in lists[sys.argv[1]] if re.match(r"[\w-]+", line)[0] != "torch"))
PY
}

# What is installed in an environment beside pip, torch and NVIDIA's libraries: installed ENV
installed() {
  "$1/bin/python" -m pip list --disable-pip-version-check --format=freeze |
    grep -viE '^(pip|torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+|saetrack)==' | sort -f
}

head_of() { printf '# %s\n# Exact versions, written by `make lock` (scripts/lock.sh); do not edit by hand.\n' "$1"; }

environment() { # environment NAME REQUIREMENT...
  "$python" -m venv "$scratch/$1"
  "$scratch/$1/bin/python" -m pip install --disable-pip-version-check --quiet "$torch" "${@:2}"
}

wanted dependencies >"$scratch/base.txt"
wanted dev >"$scratch/dev.txt"
wanted sae-lens >"$scratch/sae-lens.txt"
# What a test needs to read our weights with our code and with sae-lens in one process.
printf '%s\n' numpy pyarrow pytest pytest-timeout safetensors scipy >>"$scratch/sae-lens.txt"

environment base -r "$scratch/base.txt" setuptools
{
  head_of "What saetrack needs to run, torch apart (requirements/torch.lock)."
  echo "# No hashes: pip would then demand one for torch too, and torch's wheel differs by machine (CPU or CUDA build,"
  echo "# from more than one index), so there is no single hash to state."
  installed "$scratch/base"
} >"$scratch/base.lock"

environment dev -r "$scratch/base.lock" -r "$scratch/dev.txt"
{
  head_of "What the tests, linters and the editable install need on top of base.lock."
  echo "-r base.lock"
  installed "$scratch/dev" | grep -vxFf "$scratch/base.lock"
} >"$scratch/dev.lock"

environment sae-lens -c "$scratch/base.lock" -r "$scratch/sae-lens.txt"
{
  head_of "sae-lens in an environment of its own (.venv-sae-lens): it reads back the weights that we write."
  installed "$scratch/sae-lens"
} >"$scratch/sae-lens.lock"

cp "$scratch"/{base,dev,sae-lens}.lock requirements/
