# pg_webhook
#
# Everything that these targets make outside the source tree is in one folder, $(HOME_DIR): a private copy of
# the PostgreSQL server with the extension in it, the clusters of tests and demo, and the tools of the
# tests; but clusters of tests are in memory while they run, see tests/with_room. The system's PostgreSQL is
# only read, except by `make install`. What is built optimised, and packages of it, are in cargo's target folder.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

# The majors that the extension is built for are the features of Cargo.toml.
MAJORS := $(shell sed -n 's/^pg\([0-9]*\) = .*/\1/p' Cargo.toml)
# Of these the newest that the system has with headers, or else the oldest.
SYSTEM_MAJOR = $(lastword $(firstword $(MAJORS)) $(foreach major,$(MAJORS),$(if $(call in_system,$(major)),$(major))))
in_system = $(and $(wildcard /usr/lib/postgresql/$(1)/bin/postgres),$(wildcard /usr/include/postgresql/$(1)/server/postgres.h))
PGRX := 0.18.1
HOME_DIR ?= $(or $(TMPDIR),/tmp)/pg_webhook-$(shell id -u)

# PG_CONFIG=... names a server of the user's, PG_MAJOR=... one of the system's or one to fetch.
ifdef PG_CONFIG
    ifneq (,$(filter command% environment%,$(origin PG_MAJOR)))
        $(error Either PG_CONFIG or PG_MAJOR says which server it is)
    endif
    # A name is looked for as the shell looks for commands; from here on it is a path.
    override PG_CONFIG := $(or $(realpath $(shell command -v $(PG_CONFIG))),$(error PG_CONFIG: there is no $(PG_CONFIG)))
    PG_MAJOR := $(shell $(PG_CONFIG) --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
    TREE := $(HOME_DIR)/server/own-$(PG_MAJOR)
    INSTALL_CONFIG := $(PG_CONFIG)
else
    PG_MAJOR ?= $(SYSTEM_MAJOR)
    TREE := $(HOME_DIR)/server/$(PG_MAJOR)
    INSTALL_CONFIG := /usr/lib/postgresql/$(PG_MAJOR)/bin/pg_config
endif
ifeq (,$(filter $(PG_MAJOR),$(MAJORS)))
    $(error PostgreSQL "$(PG_MAJOR)" is none of $(MAJORS))
endif

BIN := $(TREE)/bin
SERVER := $(BIN)/pg_config
VENV := $(HOME_DIR)/venv
NODE := $(HOME_DIR)/node
RUN := $(HOME_DIR)/run
TOOLS := $(HOME_DIR)/tools

# What an optimised build is for: the server of PG_CONFIG, the system's, or else the one that is fetched.
CONFIG := $(or $(PG_CONFIG),$(if $(call in_system,$(PG_MAJOR)),$(INSTALL_CONFIG)))
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
STAGE := $(TARGET)/built/$(or $(shell tests/packaging/built_for $(CURDIR) $(PG_MAJOR) $(CONFIG)),$(error $(CONFIG) says \
    nothing of its server))
SOURCES := $(shell find src sql) .cargo/config.toml Cargo.toml Cargo.lock pg_webhook.control
PACKAGES := $(TARGET)/packages
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)

export PGRX_HOME := $(HOME_DIR)/pgrx/$(notdir $(TREE))
export PGRX_PG_CONFIG_PATH := $(SERVER)
export PGW_BIN := $(BIN)
export PGW_NODE := $(NODE)
export PYTHONDONTWRITEBYTECODE := 1
# pgrx would append it to the DETAIL of every error
unexport RUST_BACKTRACE
# they say which server the tests start, not which one they reach
unexport PG_CONFIG PG_MAJOR
# For another make about the same server, which is looked for again.
SAME := --no-print-directory $(if $(PG_CONFIG),PG_CONFIG=$(PG_CONFIG),PG_MAJOR=$(PG_MAJOR))

# The flags with which `cargo pgrx install` builds, so that all targets share what has been compiled.
CARGO := cargo --config "target.'cfg(all(target_family = \"unix\", not(target_os = \"macos\")))'.rustflags = [\"-C\", \"link-arg=-Wl,--no-gc-sections\"]"
FEATURES := --features pg$(PG_MAJOR) --no-default-features
# What clippy looks at. Only the library differs between majors.
LINTED := --all-targets

.PHONY: help
help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- what must be there ----------------------------------------------------------------------------

.PHONY: packages
packages:
	@tests/packages "$(if $(PG_CONFIG)$(wildcard $(TREE)/origin),,$(PG_MAJOR))" $(FOR)

$(HOME_DIR):
	@mkdir -p -m 755 $@
	@[ -O $@ ] || { echo "$@ belongs to somebody else; set HOME_DIR to another folder" >&2; exit 1; }

.PHONY: always
always:

# Says each time whether the server is still the one that it was made from.
$(TREE)/origin: always | packages $(HOME_DIR)
	@tests/server/provide $(TREE) $(PG_MAJOR) $(PG_CONFIG)

.PHONY: cargo-pgrx
cargo-pgrx: | packages $(HOME_DIR)
	@if [ "$$(cargo pgrx --version 2>/dev/null)" != "cargo-pgrx $(PGRX)" ]; then \
	    echo "== installing cargo-pgrx $(PGRX) (about two minutes, once)"; \
	    cargo install --quiet --debug --locked cargo-pgrx --version =$(PGRX); \
	fi

$(PGRX_HOME)/config.toml: $(TREE)/origin | cargo-pgrx
	@mkdir -p $(PGRX_HOME) && cargo pgrx init --pg$(PG_MAJOR) $(SERVER) >/dev/null

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

.PHONY: all
all: ## Build an optimised extension for the system's PostgreSQL, or that of PG_CONFIG
	@$(MAKE) $(SAME) --question built || $(MAKE) $(SAME) building

.PHONY: building
building: needed
	@$(MAKE) $(SAME) built

.PHONY: needed
needed:
	@tests/packaging/may_build
	@tests/packages "$(if $(PG_CONFIG),,$(PG_MAJOR))" build

# Whether it is newer than its sources, files say: installing what is built needs no cargo.
.PHONY: built
built: $(STAGE)/ready

$(STAGE)/ready: $(SOURCES)
	@$(MAKE) $(SAME) cargo-pgrx $(if $(CONFIG),,$(TREE)/origin) FOR=build
	@echo "== building an optimised extension for $(or $(CONFIG),PostgreSQL $(PG_MAJOR)) (about four minutes the first time)"
	@PGRX_HOME=$(HOME_DIR)/pgrx/$(notdir $(@D)) tests/quietly tests/packaging/build $(@D) $(PG_MAJOR) $(or $(CONFIG),$(SERVER))

.PHONY: install
install: ## Copy it there, or below DESTDIR; build it before, where nobody has
	@$(MAKE) $(SAME) --question built || $(MAKE) $(SAME) needed
	@$(MAKE) $(SAME) installable
	@$(MAKE) $(SAME) all
	@tests/packaging/place install $(STAGE) $(INSTALL_CONFIG)

.PHONY: installable
installable:
	@[ -n "$(CONFIG)" ] || { echo "there is no PostgreSQL $(PG_MAJOR) with its headers in the system: install it" \
	    "(postgresql-$(PG_MAJOR) and postgresql-server-dev-$(PG_MAJOR)), or say PG_CONFIG=/path/to/pg_config" >&2; exit 1; }

.PHONY: uninstall
uninstall: ## Remove it from there
	@tests/packaging/place uninstall $(INSTALL_CONFIG)

.PHONY: installcheck
installcheck: ## Does it work in the running server that PGHOST, PGPORT and so on name? Uses a database of its own
	@tests/installcheck/run $(VERSION) $(if $(PG_CONFIG),$(shell $(PG_CONFIG) --bindir))

.PHONY: build
build: $(PGRX_HOME)/config.toml ## Build it quickly and install it into the private server, as tests do
	@echo "== building the extension for PostgreSQL $(PG_MAJOR) (about two minutes the first time)"
	@tests/quietly cargo pgrx install $(FEATURES) --pg-config $(SERVER)

.PHONY: released
released: build ## Keep the script that installs this version in sql/released, before it gets its tag
	@tests/packaging/released keep sql/released $(VERSION) "$$($(SERVER) --sharedir)/extension/pg_webhook--$(VERSION).sql"
	@echo "== sql/released has the script of version $(VERSION)"

# Tools that judge what is made: a version of each, because another one may find something else.
DENY := cargo-deny@0.20.2
CYCLONEDX := cargo-cyclonedx@0.5.9
PGXN_META := pgxn_meta@0.7.0

# --- packages --------------------------------------------------------------------------------------

.PHONY: package
package: ## Debian and RPM packages and an image volume of it, in target/packages
	@tests/packages "" package
	@$(MAKE) $(SAME) all
	@$(MAKE) $(SAME) packaged

.PHONY: packaged
packaged:
	@mkdir -p $(PACKAGES)
	@tests/packaging/stripped $(STAGE) $(STAGE)/stripped
	@tests/packaging/notices $(PG_MAJOR) >$(STAGE)/notices
	@tests/packaging/deb $(PG_MAJOR) $(STAGE)/stripped $(STAGE)/notices $(PACKAGES)
	@tests/packaging/rpm $(PG_MAJOR) $(STAGE)/stripped $(STAGE)/notices $(PACKAGES)
	@tests/packaging/volume $(PG_MAJOR) $(STAGE)/stripped $(PACKAGES)/volume-$(PG_MAJOR)
	@echo "== packages for PostgreSQL $(PG_MAJOR) are in $(PACKAGES)"

.PHONY: package-all
package-all: pgxn ## The same for each major, and the archive for PGXN
	@for major in $(MAJORS); do $(MAKE) --no-print-directory package PG_CONFIG= PG_MAJOR=$$major; done

.PHONY: pgxn
pgxn: ## The archive for PGXN, of what is committed
	@tests/packaging/pgxn $(PACKAGES)/pgxn
	@echo "== the archive is in $(PACKAGES)/pgxn"

.PHONY: test-packages
test-packages: | $(TOOLS)/$(PGXN_META)/ready ## Make all packages, and install them into fresh Debians and other servers
	@tests/packages "" package
	@HOME_DIR=$(HOME_DIR) PACKAGES=$(PACKAGES) PGXN_META=$(TOOLS)/$(PGXN_META)/bin/pgxn_meta MAKE="$(MAKE) --no-print-directory" \
	    tests/packaging/check $(ONLY)
	@echo "== the packages work"

# --- what it is made of ----------------------------------------------------------------------------

$(TOOLS)/%/ready: | $(HOME_DIR)
	@echo "== installing $* (some minutes, once)"
	@cargo install --quiet --locked --root $(@D) $* && touch $@

.PHONY: deny
deny: | $(TOOLS)/$(DENY)/ready ## Licences, sources, duplicates and known faults of the packages that it is made of
	@tests/packaging/deny $(TOOLS)/$(DENY)/bin/cargo-deny

.PHONY: sbom
sbom: | $(TOOLS)/$(CYCLONEDX)/ready ## What a release is made of, as CycloneDX, in target/packages
	@tests/packaging/sbom $(TOOLS)/$(CYCLONEDX)/bin/cargo-cyclonedx $(PG_MAJOR) $(PACKAGES)

# --- tests -----------------------------------------------------------------------------------------

.PHONY: test
test: lint unit golden e2e ## Run all tests, as root or as an ordinary user
	@echo "== all tests passed on PostgreSQL $(PG_MAJOR)"

.PHONY: test-all
test-all: ## Run all tests on each major
	@for major in $(MAJORS); do $(MAKE) --no-print-directory test PG_MAJOR=$$major; done

# What touches PostgreSQL's C interface or its catalogs, and so may differ between majors; and what lies between the first,
# which all tests are run on, and the last, if it differs at all.
CORE := capture payload_truth delivery security privileges levels crash worker_life majors pg_upgrade \
    upgrade_by_replication retention
LAST := owners triggers removal rights_of_text foreign_code transforms logical_replication dump dump_events \
    databases_change

.PHONY: test-core
test-core: LINTED := --lib
test-core: NEWEST := $(filter $(PG_MAJOR),$(lastword $(MAJORS)))
test-core: lint golden ## Run what differs between majors
	@$(MAKE) --no-print-directory e2e E2E="$(patsubst %,tests/e2e/test_%.py,$(CORE) $(if $(NEWEST),$(LAST)))"
	@echo "== core tests passed on PostgreSQL $(PG_MAJOR)"

.PHONY: test-ci
# Nothing is built twice for a major, so what a second time would need is not kept.
test-ci: export CARGO_INCREMENTAL := 0
test-ci: ## What CI runs: all tests on the first major, and on the others what differs
	@$(MAKE) --no-print-directory test PG_MAJOR=$(firstword $(MAJORS))
	@for major in $(wordlist 2,99,$(MAJORS)); do \
	    $(MAKE) --no-print-directory test-core PG_MAJOR=$$major BUILT=older; done

.PHONY: lint
lint: $(PGRX_HOME)/config.toml ## rustfmt and clippy, warnings are errors
	@echo "== rustfmt, clippy for PostgreSQL $(PG_MAJOR) (about two minutes the first time)"
	@cargo fmt --check
	@$(CARGO) clippy --quiet --workspace $(LINTED) $(FEATURES) -- -D warnings

.PHONY: unit
unit: $(PGRX_HOME)/config.toml ## The rooms that know no PostgreSQL, and the rules of the architecture; ONLY=window some
	@echo "== unit tests"
	@$(CARGO) test --quiet --workspace --tests $(FEATURES) $(if $(ONLY),-- $(ONLY))
ifndef ONLY
	@echo "== what is unsafe in delivery, under valgrind"
	@tests/memcheck $(CARGO) test --workspace --tests $(FEATURES)
endif

.PHONY: golden
golden: build ## The SQL surface against expected output; ONLY=refusals one file
	@echo "== golden tests"
	@tests/with_room $(RUN) tests/golden/run $(ONLY)

# What a test of pg_upgrade upgrades from. Where nothing older has been built in the same run, that is the first major.
.PHONY: older
older: build
ifneq ($(PG_MAJOR),$(firstword $(MAJORS)))
	@$(if $(BUILT)$(and $(E2E),$(if $(findstring upgrade,$(E2E)),,not)),:,$(MAKE) --no-print-directory build \
	    PG_CONFIG= PG_MAJOR=$(firstword $(MAJORS)))
endif

.PHONY: e2e
e2e: build older $(VENV)/ready $(NODE)/ready ## Real servers, sockets, receivers and crashes
	@echo "== end-to-end tests"
	@tests/with_room $(RUN) $(VENV)/bin/pytest -q $(or $(E2E),tests/e2e) $(PYTEST)

.PHONY: fuzz
fuzz: build $(VENV)/ready ## Statements of many roles at random, for SECONDS=300; SEED= repeats a run
	@PGW_FUZZ_SECONDS=$(or $(SECONDS),300) PGW_FUZZ_SEED=$(SEED) tests/with_room $(RUN) \
	    $(VENV)/bin/pytest -q -s -n 0 --timeout 0 tests/e2e/attacks/test_fuzz.py

.PHONY: torture
torture: build $(VENV)/ready ## Crashes and worse under load, for SECONDS=300 or CYCLES=; SEED= repeats the faults of a run
	@PGW_TORTURE_SECONDS=$(or $(SECONDS),300) PGW_TORTURE_CYCLES=$(CYCLES) PGW_TORTURE_SEED=$(SEED) tests/with_room $(RUN) \
	    $(VENV)/bin/pytest -q -s -n 0 --timeout 0 tests/e2e/torture

.PHONY: order
order: build $(VENV)/ready ## The order of CHANGES=1000000 changes, and what a crash does to it
	@PGW_ORDER_CHANGES=$(or $(CHANGES),1000000) tests/with_room $(RUN) $(VENV)/bin/pytest -q -s -n 0 --timeout 0 \
	    tests/e2e/test_order_at_size.py

.PHONY: soak
soak: build $(VENV)/ready ## 500 events a second while all changes, for SECONDS=3600: is the end as after ten minutes?
	@PGW_SOAK_SECONDS=$(or $(SECONDS),3600) tests/with_room $(RUN) $(VENV)/bin/pytest -q -s -n 0 --timeout 0 tests/e2e/soak

.PHONY: demo
demo: build $(VENV)/ready ## See it work, from CREATE EXTENSION to a retried delivery
	@PGW_RUN=$(RUN) $(VENV)/bin/python tests/demo/demo.py

.PHONY: shell
shell: build $(VENV)/ready ## psql in a database with the extension, beside a receiver
	@PGW_RUN=$(RUN) $(VENV)/bin/python tests/demo/shell.py

.PHONY: bench
bench: $(PGRX_HOME)/config.toml $(VENV)/ready ## Measure an optimised build (QUICK=1: two minutes); keeps a record in tests/bench/results
	@tests/packages "" bench
	@echo "== building with optimisation (about three minutes the first time)"
	@tests/quietly cargo pgrx install --release $(FEATURES) --pg-config $(SERVER)
	@PGW_RUN=$(RUN) $(VENV)/bin/python tests/bench/bench.py $(ONLY)

.PHONY: clean
clean: ## Remove what has been built
	rm -rf target $(HOME_DIR)
