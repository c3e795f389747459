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
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Set up
.PHONY: setup
setup: $(VENV)/.ready ## Make the virtual environment (pinned, cached outside the checkout)

$(VENV)/.ready: requirements/dev.txt pyproject.toml
	@echo "==> Python packages into $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: lock
lock: setup ## Pin the Python packages anew (requirements/*.txt, with hashes)
	@$(PYTHON) requirements/lock.py

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
