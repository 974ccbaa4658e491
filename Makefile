# One command per habit, the same on a laptop and in CI. Each target makes its own environment first, under this folder:
# .tooling holds uv, .venv what uv.lock names. Nothing is installed globally, and nothing is done twice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

UV_VERSION := 0.13.9
UV := .tooling/bin/uv
BIN := .venv/bin

# Pythons of the machine only, the bytecode compiled once here instead of at every first import.
export UV_PYTHON_DOWNLOADS := never
export UV_COMPILE_BYTECODE := 1
export UV_PROJECT_ENVIRONMENT := .venv

# Nothing of this project, nor of what it uses, calls home.
export DAGSTER_DISABLE_TELEMETRY := 1
export GX_ANALYTICS_ENABLED := False
export DO_NOT_TRACK := 1

# Of tests, at once. Each starts servers of its own.
WORKERS ?= 2

.PHONY: help env demo ui test check bench drills clean

help: ## what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

env: .venv/.made ## the environment alone

demo: env ## a year of flights through the whole loop, to a trained, served and drift-checked model
	$(BIN)/feature-assets demo

ui: env ## Dagster's UI over what the demo left
	$(BIN)/feature-assets ui

test: env ## all tests, also against the real servers; those that measure come last, alone
	$(BIN)/pytest -m "not alone" --numprocesses $(WORKERS) --dist loadfile
	$(BIN)/pytest -m alone

check: env ## lint, format, types, lock file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(UV) lock --check

bench: env ## every measurement, one after the other; writes docs/benchmarks.md
	$(BIN)/python bench/harness/report.py

drills: env ## the long form of what must be survived
	FEATURE_ASSETS_DRILLS=long $(BIN)/pytest -m drill --timeout 3600

clean: ## remove the environments and every cache
	rm -rf .tooling .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info

# The stamps. A stamp is made last, so that what was interrupted is made again.
.tooling/.made-$(UV_VERSION):
	rm -rf .tooling
	@python= ; for candidate in python3.11 python3.12 python3.13 python3; do \
	    if "$$candidate" -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
	    then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then echo "Python 3.11, 3.12 or 3.13 with its venv module is needed, and none was found on PATH" >&2; exit 1; fi; \
	echo "$$python -m venv .tooling"; "$$python" -m venv .tooling
	.tooling/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

.venv/.made: .tooling/.made-$(UV_VERSION) uv.lock pyproject.toml setup.cfg
	$(UV) sync --locked --all-extras --python "$$(.tooling/bin/python -c 'import sys; print(sys._base_executable)')"
	@touch $@
