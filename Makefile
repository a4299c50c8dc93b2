# Every habit of this repository. `make` alone lists them; `make demo` and `make test` need nothing prepared.
# The environment lives in .venv and is brought up to date by the stamp file whenever its inputs change.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
STAMP := .venv/.up-to-date
PYTEST := $(BIN)/python -m pytest
# Unit tests share nothing: two processes at once, each of one thread, and a file in one of them for its fixtures' sake.
UNIT := OMP_NUM_THREADS=1 $(PYTEST) --numprocesses 2 --dist loadfile tests/unit
# No tool of ours tells anybody that it ran.
export HF_HUB_DISABLE_TELEMETRY := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(STAMP) ## the whole product on the demo shop, up until Ctrl-C (ONCE=1: ends by itself; QUERIES=n: the first n of a locale)
	@$(BIN)/python -m demo $(if $(filter-out 0,$(ONCE)),--once) $(if $(QUERIES),--queries $(QUERIES))

.PHONY: test
test: lint types browser cache-server ## lint, types, then unit, integration and end-to-end tests
	@unit=0; $(UNIT) || unit=$$?; $(PYTEST) tests/integration tests/e2e; exit $$unit

.PHONY: lint
lint: $(STAMP) ## style and format (ruff)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check . | head -20; echo "Run 'make format'."; exit 1; } >&2

.PHONY: format
format: $(STAMP) ## let ruff mend style and format
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format .

.PHONY: types
types: $(STAMP) ## mypy, strict on our packages
	@$(BIN)/mypy

.PHONY: unit
unit: $(STAMP) ## unit tests: no server, no model
	@$(UNIT)

.PHONY: browser
browser: ## Chromium for the playground's tests, where there is none (Debian, as root)
	@scripts/browser

.PHONY: cache-server
cache-server: ## a Valkey or Redis server for the shared cache's tests, where there is none (Debian, as root)
	@scripts/cache-server

.PHONY: integration
integration: $(STAMP) browser cache-server ## the OpenSearch side against a real node
	@$(PYTEST) tests/integration

.PHONY: e2e
e2e: $(STAMP) ## OpenSearch, Ray Serve, gateway and the real model together
	@$(PYTEST) tests/e2e

.PHONY: model
model: $(STAMP) ## the shipped model trained anew, into build/model (DATA=folder with the labelled rows)
	@scripts/model $(DATA)

.PHONY: bench-gateway
bench-gateway: $(STAMP) ## what the gateway costs, beside OpenSearch alone and nginx (figures: build/bench/gateway.json)
	@mkdir -p build/bench
	@$(BIN)/python -m benchmarks.gateway --json build/bench/gateway.json

.PHONY: bench-scoring
bench-scoring: $(STAMP) ## how fast this machine scores, beside what else could run the model (QUICK=1: two minutes)
	@$(BIN)/csrm bench scoring --peers --overhead $(if $(filter-out 0,$(QUICK)),--quick) --json build/bench/scoring.json

.PHONY: bench-knowledge
bench-knowledge: $(STAMP) ## recall of the retriever beside BM25 and dense, latency and memory by size (ENTRIES="1000 100000 1000000")
	@mkdir -p build/bench
	@$(BIN)/python -m benchmarks.knowledge --json build/bench/knowledge.json
	@for n in $(or $(ENTRIES),1000 100000); do \
	  OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.knowledge_scale --entries $$n --json build/bench/knowledge-$$n.json; done

.PHONY: environment
environment: $(STAMP) ## .venv with everything in it, at the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt scripts/environment
	@scripts/environment .venv
	@touch $@

.PHONY: constraints
constraints: $(STAMP) ## resolve constraints.txt anew: exact versions, no index address
	@scripts/constraints

.PHONY: clean
clean: ## remove what the tools and the demo wrote; .venv and downloads stay
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
