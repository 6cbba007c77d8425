# Everything a newcomer types. Needs make and Python 3.11 or newer with pip; the rest comes from the lock files.

BIN := .venv/bin
PYTEST_ARGS ?=
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup demo run test lint docs lock

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv from the lock file; quick when nothing changed
	@scripts/setup runtime

demo: setup ## one run of the main job on this machine, every step observed
	@$(BIN)/waystation demo

run: setup ## gateway, workers, database and provider sandbox on this machine
	@$(BIN)/waystation dev

lint: ## style, import arrows and types
	@scripts/setup dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy

test: lint ## lint, then every test; PYTEST_ARGS="-k name" picks
	$(BIN)/pytest -n 2 $(PYTEST_ARGS)

docs: ## write docs/database, docs/channels.md and docs/webhook-events.md anew, from schema, conformance suite and models
	@scripts/setup dev
	@$(BIN)/python -m tests.database_docs
	@$(BIN)/python -m tests.conformance
	@$(BIN)/python -m tests.event_docs

lock: ## write the lock files anew from pyproject.toml
	@scripts/lock
