# Every chore of saetrack by one word; `make help` lists them.
#
# All of it lives in .venv, installed from the exact versions in requirements/*.lock.
# Overridable:  make venv PYTHON=/path/to/python3.12
#               make venv TORCH_SPEC='torch==2.13.0+cpu'      (another build of torch)
#               make test PYTEST_ARGS='-k windows'            (only some tests)
#               make demo DEMO_ARGS='--out elsewhere'         (see .venv/bin/python -m workers.demo --help)
#               make serve SERVE_ARGS='--port 8080'

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements/torch.lock requirements/base.lock requirements/dev.lock
TORCH_SPEC ?= $(shell sed '/^\#/d' requirements/torch.lock)
PYTHON ?=
JOBS ?= 2
PYTEST_ARGS ?=
DEMO_ARGS ?=
SERVE_ARGS ?=
DATA ?=
MODELS ?=
RESULTS ?=
STAGES ?=
EVIDENCE_ARGS ?=
# pip shows its progress bars to a person and keeps quiet in a log (MAKE_TERMOUT is set when a person looks on).
PIP_INSTALL := -m pip install --disable-pip-version-check $(if $(MAKE_TERMOUT),,--quiet)

# The tools of .venv come first, so that a bedtools put there by scripts/install_bedtools.sh is found.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# No server and no test may reach for a model hub.
export HF_HUB_OFFLINE := 1

.PHONY: help venv bedtools servers demo serve test test-slow lint format licences lock settings evidence clean

help: ## what can be made
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

venv: $(VENV)/.installed ## set up .venv from the lock files

$(VENV)/.installed: $(LOCKS) scripts/find_python.sh pyproject.toml
	@python="$$(PYTHON='$(PYTHON)' bash scripts/find_python.sh)"; \
	echo "setting up $(VENV) with $$python: torch alone is about 200 MB (CPU build) to 2.5 GB (CUDA build)"; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then "$$python" -m venv --clear $(VENV); fi
	$(BIN)/python $(PIP_INSTALL) "$(TORCH_SPEC)" -r requirements/dev.lock
	$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

bedtools: $(VENV)/.installed ## find the bedtools program, or install it
	@bash scripts/install_bedtools.sh $(VENV)

servers: bedtools ## find Redis, PostgreSQL and Chromium for the tests, or install them
	@bash scripts/install_servers.sh $(VENV)
	@bash scripts/install_chromium.sh

demo: bedtools ## a real DNA record through the server: features, motifs, browser tracks
	@$(BIN)/python -m workers.demo $(DEMO_ARGS)

serve: bedtools ## run the embedded server (http://127.0.0.1:8765) until Ctrl-C
	@$(BIN)/saetrack serve $(SERVE_ARGS)

test: servers lint ## lint, types, import contracts and the suite
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

test-slow: servers $(VENV)-sae-lens/.installed ## the tests marked slow, sae-lens's reading of our weights among them
	$(VENV)-sae-lens/bin/python -m pytest -m slow --timeout 1800 tests/workers/test_sae_lens.py
	@bash scripts/install_node_readers.sh $(VENV)
	$(BIN)/pytest -m slow --timeout 1800 --ignore tests/workers/test_sae_lens.py $(PYTEST_ARGS)

# sae-lens brings some ninety packages, so it has an environment of its own.
$(VENV)-sae-lens/.installed: requirements/torch.lock requirements/sae-lens.lock scripts/find_python.sh
	@python="$$(PYTHON='$(PYTHON)' bash scripts/find_python.sh)"; \
	echo "setting up $(VENV)-sae-lens"; \
	if ! $(VENV)-sae-lens/bin/python -m pip --version >/dev/null 2>&1; then "$$python" -m venv --clear $(VENV)-sae-lens; fi
	$(VENV)-sae-lens/bin/python $(PIP_INSTALL) "$(TORCH_SPEC)" -r requirements/sae-lens.lock
	@$(VENV)-sae-lens/bin/python -W ignore -c 'import sae_lens'  # or its tests would be skipped, not failed
	@touch $@

lint: $(VENV)/.installed ## ruff, mypy, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

settings: $(VENV)/.installed ## write docs/settings.md from app/config.py
	PYTHONPATH=. $(BIN)/python scripts/settings_page.py

# MODELS=DIR: folder of baselines; RESULTS=DIR: results of annotate; STAGES="bits choice": these alone; STAGES=page: no DATA.
evidence: $(VENV)/.installed ## measure the bundled model on DATA=DIR and write docs/bundled-model.md
	$(BIN)/saetrack train evidence $(if $(DATA),--data '$(DATA)') $(if $(MODELS),--models '$(MODELS)') \
	  $(if $(RESULTS),--results '$(RESULTS)') --stages '$(STAGES)' $(EVIDENCE_ARGS)

format: $(VENV)/.installed ## let ruff rewrite what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

licences: $(VENV)/.installed ## licences of everything installed; fails on one that has not been looked at
	$(BIN)/python scripts/licences.py

lock: ## choose newest allowed versions and write requirements/*.lock
	PYTHON='$(PYTHON)' TORCH_SPEC='$(TORCH_SPEC)' bash scripts/lock.sh

clean: ## remove environments, caches and output of the demo (not saetrack-data)
	rm -rf $(VENV) $(VENV)-sae-lens build dist demo-output *.egg-info .mypy_cache .ruff_cache .pytest_cache \
	  .import_linter_cache .hypothesis
	find annotations app workers tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
