# Every target sets up what it needs on a bare Debian machine with Rust, and does nothing the second time.
#
#   make demo      a private Postgres, the sidecar and a receiver: every event of the specification, seen arriving
#   make install   the extension into the Postgres of PG_CONFIG, pg-webhooks into PREFIX/bin, its manual page and the
#                  completions for bash, zsh and fish into PREFIX/share
#   make test      unit tests, then end to end on a private Postgres
#   make lint      formatting and clippy
#   make bench     the figures of docs/benchmarks.md, taken here (QUICK=1: a short form, to target/bench/benchmarks.md)
#   make microbench   the capture path piece by piece, inside a private Postgres (ONLY=json: those with json in their
#                  names; QUICK=1: each just once or twice, unoptimised, to see that they run)
#   make pictures  the README's pictures of the page, taken anew
#   make clean     removes what was built; what was installed stays
#   make uninstall removes what make install installed, of the same PG_CONFIG and PREFIX; DROP EXTENSION comes before

PG_CONFIG ?= pg_config
PREFIX    ?= /usr/local
CARGO     ?= cargo

SUDO  := $(if $(filter 0,$(shell id -u)),,sudo)
PGRX  := 0.18.1
# What is done for one Postgres is not done for another.
STAMP := target/make$(if $(filter-out pg_config,$(PG_CONFIG)),/$(subst /,-,$(PG_CONFIG)))
SOURCES_EXTENSION := Cargo.toml Cargo.lock pg_webhooks/Cargo.toml pg_webhooks/pg_webhooks.control \
                     $(shell find pg_webhooks/src -name '*.rs') $(wildcard sql/*.sql)
SOURCES_SIDECAR   := Cargo.toml Cargo.lock sidecar/Cargo.toml $(shell find sidecar/src -type f)

# The build with the micro-benchmarks.
PROFILE    := $(if $(QUICK),debug,release)
LIBRARY    := target/$(PROFILE)/libpg_webhooks.so target/$(PROFILE)/deps/libpg_webhooks.so
MICROBENCH := target/microbench/$(PROFILE)

# What pg-webhooks says of itself.
MAN   := $(PREFIX)/share/man/man1/pg-webhooks.1
BASH  := $(PREFIX)/share/bash-completion/completions/pg-webhooks
ZSH   := $(PREFIX)/share/zsh/site-functions/_pg-webhooks
FISH  := $(PREFIX)/share/fish/vendor_completions.d/pg-webhooks.fish
PAGES := $(MAN) $(BASH) $(ZSH) $(FISH)

# Expanded late: pg_config may only be there once the packages are.
PG_MAJOR = $(shell $(PG_CONFIG) --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
FEATURES = --no-default-features --features pg_webhooks/pg$(PG_MAJOR)

.PHONY: demo install uninstall test lint bench microbench pictures clean
.DELETE_ON_ERROR:

demo: install
	$(CARGO) run --release --quiet -p tests --bin demo

install: $(STAMP)/extension $(PREFIX)/bin/pg-webhooks $(PAGES)

test: $(STAMP)/venv install
	$(CARGO) test --workspace $(FEATURES)

lint: $(STAMP)/pgrx
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(FEATURES) -- -D warnings
	$(CARGO) clippy -p pg_webhooks $(FEATURES),pg_webhooks/pg_bench -- -D warnings

bench: $(STAMP)/bench-packages install
	$(CARGO) run --release --quiet -p tests --bin bench -- $(if $(QUICK),--quick)

microbench: $(STAMP)/extension $(STAMP)/microbench-$(PROFILE)
	$(CARGO) run --release --quiet -p tests --bin microbench -- $(MICROBENCH)/package$$($(PG_CONFIG) --pkglibdir)/pg_webhooks.so \
	    $(MICROBENCH)/package$$($(PG_CONFIG) --sharedir)/extension/pg_webhooks--*.sql $(MICROBENCH)/last $(ONLY)

pictures: $(STAMP)/venv install
	$(CARGO) test -p tests --test browser pictures
	cp target/pictures/*.png docs/

clean:
	$(CARGO) clean

uninstall:
	$(SUDO) rm -f $(PREFIX)/bin/pg-webhooks $(PAGES) "$$($(PG_CONFIG) --pkglibdir)/pg_webhooks.so" \
	    "$$($(PG_CONFIG) --sharedir)"/extension/pg_webhooks.control "$$($(PG_CONFIG) --sharedir)"/extension/pg_webhooks--*.sql
	rm -f $(STAMP)/extension

# What the extension builds with ----------------------------------------------------------------------------------------

# A server, its headers, and libclang, from which pgrx makes its bindings.
$(STAMP)/packages:
	@mkdir -p $(@D)
	@if ! test -x "$$($(PG_CONFIG) --bindir 2>/dev/null)/postgres" || ! test -f "$$($(PG_CONFIG) --includedir-server)/postgres.h" \
	    || ! ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1 || ! command -v cc >/dev/null; then \
	    set -ex; $(SUDO) apt-get update; \
	    $(SUDO) apt-get install -y --no-install-recommends build-essential pkg-config libclang-dev postgresql postgresql-server-dev-all; \
	fi
	@touch $@

# The specification's receivers are JavaScript and Python: their checks run under both. The page runs in Chromium.
$(STAMP)/test-packages: $(STAMP)/packages Makefile
	@if ! command -v node >/dev/null || ! python3 -c 'import ensurepip' 2>/dev/null || ! command -v chromium >/dev/null \
	    || ! command -v chromedriver >/dev/null; then \
	    set -ex; $(SUDO) apt-get update; \
	    $(SUDO) apt-get install -y --no-install-recommends nodejs python3 python3-venv chromium chromium-driver; \
	fi
	@touch $@

# Python packages for the tests of the API and the page, apart from the system's. One of them brings axe-core along, so
# that npm is not needed; it wants a browser driver of its own, which is left out.
$(STAMP)/venv: $(STAMP)/test-packages tests/requirements.txt
	python3 -m venv target/venv
	target/venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	target/venv/bin/pip install --quiet --disable-pip-version-check --no-deps axe-playwright-python==0.1.8
	cp target/venv/lib/python3*/site-packages/axe_playwright_python/axe.min.js target/venv/axe.min.js
	@touch $@

# pgbench, and pgcrypto for the trigger beside ours. Debian has both in the server's package.
$(STAMP)/bench-packages: $(STAMP)/packages
	@if ! test -x "$$($(PG_CONFIG) --bindir)/pgbench" || ! test -f "$$($(PG_CONFIG) --sharedir)/extension/pgcrypto.control"; then \
	    set -ex; $(SUDO) apt-get update; $(SUDO) apt-get install -y --no-install-recommends postgresql-contrib; \
	fi
	@touch $@

$(STAMP)/pgrx: $(STAMP)/packages
	@if ! $(CARGO) pgrx --version 2>/dev/null | grep -qx 'cargo-pgrx $(PGRX)'; then \
	    set -x; $(CARGO) install cargo-pgrx --version =$(PGRX) --locked; \
	fi
	@if ! $(CARGO) pgrx info pg-config pg$(PG_MAJOR) >/dev/null 2>&1; then \
	    set -x; $(CARGO) pgrx init --pg$(PG_MAJOR) "$$(command -v $(PG_CONFIG))"; \
	fi
	@touch $@

# What is installed -----------------------------------------------------------------------------------------------------

$(STAMP)/extension: $(STAMP)/pgrx $(SOURCES_EXTENSION)
	cd pg_webhooks && $(CARGO) pgrx install --release --no-default-features --features pg$(PG_MAJOR) \
	    --pg-config "$$(command -v $(PG_CONFIG))" $(if $(SUDO),--sudo)
	@touch $@

# The extension with its micro-benchmarks, which is never installed. Cargo has one file name for both builds of the
# library and could take the one for the other.
$(STAMP)/microbench-$(PROFILE): $(STAMP)/pgrx $(SOURCES_EXTENSION)
	rm -rf $(MICROBENCH)/package $(LIBRARY)
	cd pg_webhooks && $(CARGO) pgrx package $(if $(QUICK),--debug) --no-default-features --features pg$(PG_MAJOR),pg_bench \
	    --pg-config "$$(command -v $(PG_CONFIG))" --out-dir ../$(MICROBENCH)/package
	rm -f $(LIBRARY)
	@touch $@

target/release/pg-webhooks: $(SOURCES_SIDECAR)
	$(CARGO) build --release -p sidecar
	@touch $@

$(PREFIX)/bin/pg-webhooks: target/release/pg-webhooks
	$(SUDO) install -D -m 755 $< $@

$(MAN):  TOPIC := man
$(BASH): TOPIC := completions bash
$(ZSH):  TOPIC := completions zsh
$(FISH): TOPIC := completions fish
$(PAGES): target/release/pg-webhooks
	@mkdir -p $(STAMP)/pages
	$< $(TOPIC) > $(STAMP)/pages/$(@F)
	$(SUDO) install -D -m 644 $(STAMP)/pages/$(@F) $@
