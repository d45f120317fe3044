# pg_webhook
#
# Everything that these targets make outside the source tree is in one folder, $(HOME_DIR): a private copy of
# the PostgreSQL server with the extension in it, the clusters of tests and demo, and the tools of the
# tests. The system's PostgreSQL is only read, except by `make install`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PG_MAJOR := 15
PGRX := 0.18.1
HOME_DIR ?= $(or $(TMPDIR),/tmp)/pg_webhook-$(shell id -u)
SYSTEM_PG := /usr/lib/postgresql/$(PG_MAJOR)
SYSTEM_SHARE := /usr/share/postgresql/$(PG_MAJOR)

TREE := $(HOME_DIR)/server
BIN := $(TREE)/lib/postgresql/$(PG_MAJOR)/bin
PG_CONFIG := $(BIN)/pg_config
REGRESS := $(SYSTEM_PG)/lib/pgxs/src/test/regress/pg_regress
VENV := $(HOME_DIR)/venv
NODE := $(HOME_DIR)/node

export PGRX_HOME := $(HOME_DIR)/pgrx
export PGRX_PG_CONFIG_PATH := $(PG_CONFIG)
export PGW_BIN := $(BIN)
export PGW_RUN := $(HOME_DIR)/run
export PGW_NODE := $(NODE)
export PYTHONDONTWRITEBYTECODE := 1
# pgrx would append it to the DETAIL of every error
unexport RUST_BACKTRACE

# The flags with which `cargo pgrx install` builds, so that all targets share what has been compiled.
CARGO := cargo --config "target.'cfg(all(target_family = \"unix\", not(target_os = \"macos\")))'.rustflags = [\"-C\", \"link-arg=-Wl,--no-gc-sections\"]"
FEATURES := --features pg$(PG_MAJOR) --no-default-features

.PHONY: help
help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- what must be there ----------------------------------------------------------------------------

.PHONY: packages
packages:
	@tests/packages $(PG_MAJOR)

$(HOME_DIR):
	@mkdir -p -m 755 $@
	@[ -O $@ ] || { echo "$@ belongs to somebody else; set HOME_DIR to another folder" >&2; exit 1; }

# PostgreSQL finds its files relative to its programs, so a copy of both folders is a server of its own.
$(PG_CONFIG): $(SYSTEM_PG)/bin/postgres | $(HOME_DIR)
	@echo "== copying PostgreSQL $(PG_MAJOR) to $(TREE)"
	@rm -rf $(TREE) && mkdir -p $(TREE)/lib/postgresql $(TREE)/share/postgresql $(TREE)/include
	@cp -a $(SYSTEM_PG) $(TREE)/lib/postgresql/ && cp -a $(SYSTEM_SHARE) $(TREE)/share/postgresql/
	@ln -s /usr/include/postgresql $(TREE)/include/postgresql
	@touch $@

$(SYSTEM_PG)/bin/postgres: | packages

$(PGRX_HOME)/config.toml: $(PG_CONFIG)
	@if [ "$$(cargo pgrx --version 2>/dev/null)" != "cargo-pgrx $(PGRX)" ]; then \
	    echo "== installing cargo-pgrx $(PGRX) (about five minutes, once)"; \
	    cargo install --quiet --locked cargo-pgrx --version =$(PGRX); \
	fi
	@mkdir -p $(PGRX_HOME) && cargo pgrx init --pg$(PG_MAJOR) $(PG_CONFIG) >/dev/null

$(VENV)/ready: tests/e2e/requirements.txt | packages $(HOME_DIR)
	@echo "== installing the Python side of the tests"
	@python3 -m venv $(VENV) && $(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(NODE)/ready: tests/e2e/package.json tests/e2e/package-lock.json | packages $(HOME_DIR)
	@echo "== installing the Node side of the tests"
	@mkdir -p $(NODE) && cp tests/e2e/package.json tests/e2e/package-lock.json $(NODE)/
	@cd $(NODE) && npm ci --silent --no-audit --no-fund
	@touch $@

# --- building and installing -----------------------------------------------------------------------

.PHONY: build
build: $(PGRX_HOME)/config.toml ## Build and install into the private server
	@echo "== building the extension (about two minutes the first time)"
	@tests/quietly cargo pgrx install $(FEATURES) --pg-config $(PG_CONFIG)

.PHONY: install
install: packages ## Build an optimised extension and install it into the system's PostgreSQL
	@$(MAKE) --no-print-directory $(PGRX_HOME)/config.toml
	PGRX_PG_CONFIG_PATH=$(SYSTEM_PG)/bin/pg_config cargo pgrx install --release $(FEATURES) \
	    $$([ "$$(id -u)" = 0 ] || echo --sudo) --pg-config $(SYSTEM_PG)/bin/pg_config

# --- tests -----------------------------------------------------------------------------------------

.PHONY: test
test: lint unit golden e2e ## Run all tests, as root or as an ordinary user
	@echo "== all tests passed"

.PHONY: lint
lint: $(PGRX_HOME)/config.toml ## rustfmt and clippy, warnings are errors
	@echo "== rustfmt, clippy (about two minutes the first time)"
	@cargo fmt --check
	@$(CARGO) clippy --quiet --all-targets $(FEATURES) -- -D warnings

.PHONY: unit
unit: $(PGRX_HOME)/config.toml ## The rooms that know no PostgreSQL, and the rules of the architecture
	@echo "== unit tests"
	@$(CARGO) test --quiet $(FEATURES) --test '*'

.PHONY: golden
golden: build ## The SQL surface against expected output
	@echo "== golden tests"
	@tests/golden/run $(REGRESS)

.PHONY: e2e
e2e: build $(VENV)/ready $(NODE)/ready ## Real servers, sockets, receivers and crashes
	@echo "== end-to-end tests"
	@$(VENV)/bin/pytest -q tests/e2e $(PYTEST)

.PHONY: demo
demo: build $(VENV)/ready ## See it work, from CREATE EXTENSION to a retried delivery
	@$(VENV)/bin/python tests/demo/demo.py

.PHONY: bench
bench: $(PGRX_HOME)/config.toml $(VENV)/ready ## Measure an optimised build (QUICK=1: two minutes); keeps a record in tests/bench/results
	@tests/packages $(PG_MAJOR) bench
	@echo "== building with optimisation (about three minutes the first time)"
	@tests/quietly cargo pgrx install --release $(FEATURES) --pg-config $(PG_CONFIG)
	@$(VENV)/bin/python tests/bench/bench.py $(ONLY)

.PHONY: clean
clean: ## Remove what has been built
	rm -rf target $(HOME_DIR)
