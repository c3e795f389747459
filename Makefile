# Littoral: every task of the repository. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
CACHE  ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/littoral
# The virtual environment lives outside the checkout; its key changes with the pins and with the checkout's path.
VENV   := $(CACHE)/venv-$(shell { cat requirements/dev.txt; pwd; $(PYTHON) --version; } | sha256sum | cut -c1-12)
BIN    := $(VENV)/bin
export PATH := $(BIN):$(PATH)

.PHONY: help
help: ## Name every task
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Set up
.PHONY: setup
setup: $(VENV)/.ready ## Make the virtual environment (pinned, cached outside the checkout)

$(VENV)/.ready:
	@mkdir -p $(CACHE)
	@flock $(VENV).lock $(MAKE) --no-print-directory $(VENV)/.installed  # Two that are started at once make one.
	@touch $@

$(VENV)/.installed:
	@echo "==> Python packages into $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: lock
lock: setup ## Pin the Python packages anew (requirements/*.txt, with hashes)
	@$(PYTHON) requirements/lock.py

##@ See it
CLUSTER ?= lab
DEMO := $(PYTHON) -m examples.quickstart.demo
.PHONY: demo
demo: setup ## The main job, from nothing to answers, on a lab of its own (CLUSTER=current: your cluster; KEEP=1: leave all)
ifeq ($(CLUSTER),lab)
	@$(if $(KEEP),,trap '$(PYTHON) -m lab down --name demo' EXIT;) $(DEMO) --lab demo
else
	@$(DEMO) --cluster $(CLUSTER)
endif

.PHONY: bench
bench: setup ## Measure the main path on a lab of its own, and print a table
	@trap '$(PYTHON) -m lab down --name bench' EXIT; $(PYTHON) -m lab up --name bench; $(PYTHON) -m bench.main_path --lab bench

##@ Check
PYTEST := tests/run
# Junk bytecode in a read-only or shared checkout helps nobody.
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: test
test: test-unit test-cluster test-e2e ## All tests, with all that they need

.PHONY: test-unit
test-unit: setup ## What needs no cluster: unit tests, properties, the agent and the backends with a real Triton
	@$(PYTHON) -m lab programs helm distribution versitygw
	@$(PYTEST) tests/unit tests/property tests/triton tests/agent tests/gateway

.PHONY: test-cluster
test-cluster: setup ## The kinds and the operator on a real API server
	@$(PYTEST) tests/cluster

.PHONY: test-e2e
test-e2e: setup ## The main paths on the lab: real nodes, real Triton
	@$(PYTEST) tests/e2e

.PHONY: verify
verify: setup ## Format, lint, types, import contracts, generated files
	@ruff format --check --quiet . || { ruff format --diff --quiet . | head -40; echo "make format mends this"; exit 1; }
	@ruff check --quiet .
	@mypy
	@lint-imports --no-logo
	@$(PYTHON) -m littoral.api.crds --check
	@$(PYTHON) -m littoral.api.crds --format helm --output charts/littoral/templates/crds --check
	@$(PYTHON) -m lab programs helm > /dev/null
	@$(PYTHON) manifests/kustomize/render.py --check
	@$(PYTHON) -m littoral.cli.reference --check
	@echo "verified"

.PHONY: format
format: setup ## Format the code and mend what the linter can
	@ruff check --fix --quiet . || true
	@ruff format --quiet .

.PHONY: generate
generate: setup ## Write anew what is generated: CRDs, the chart's CRDs, the API reference, the manifests without Helm
	@$(PYTHON) -m littoral.api.crds
	@$(PYTHON) -m littoral.api.crds --format helm --output charts/littoral/templates/crds
	@$(PYTHON) -m lab programs helm > /dev/null
	@$(PYTHON) manifests/kustomize/render.py
	@$(PYTHON) -m littoral.cli.reference

##@ Lab
LAB ?= lab
LAB_FLAGS ?=

.PHONY: lab-up
lab-up: setup ## A real cluster on this machine: LAB=name, LAB_FLAGS="--node edge-1:intel-npu=1 --kwok 100"
	@python -m lab up --name $(LAB) $(LAB_FLAGS)

.PHONY: lab-status
lab-status: setup ## How the lab is
	@python -m lab status --name $(LAB)

.PHONY: lab-down
lab-down: setup ## Take the lab down, whatever state it is in
	@python -m lab down --name $(LAB)
