# On a fresh machine with Python >= 3.11 and make: `make demo` shows the main job, `make check` is what CI runs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test torture bench bench-deploys bench-memory bench-restore bench-stalls check docs site release format lint types clean

help:
	@echo "make demo    the main job, on a PostgreSQL of its own"
	@echo "make test    all tests, with a PostgreSQL and an S3 that they start themselves"
	@echo "make torture kills the commands at hundreds of moments, and looks at what is left; half an hour and more"
	@echo "make check   format, lint, types, tests"
	@echo "make bench   times, beside what people use today, into docs/performance.md; memory, disk and waits; half an hour"
	@echo "make docs    write docs/security.md anew, from the attacks that the tests try"
	@echo "make site    build the documentation as a site, in build/site; links are checked"
	@echo "make release build in dist/ what a release publishes; docs/releasing.md"
	@echo "make format  put the code into shape"
	@echo "make clean   remove what make made"

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("dokku-tenants needs Python 3.11 or later, and $(PYTHON) is %d.%d; try: make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY)
	@$(BIN)/python examples/demo.py

test: $(READY)
	@$(BIN)/python -m pytest

TENANTS_TORTURE_SEED ?= $(shell date +%s)
TENANTS_TORTURE_KILLS ?= 300

torture: export TENANTS_TORTURE_SEED := $(TENANTS_TORTURE_SEED)
torture: export TENANTS_TORTURE_KILLS := $(TENANTS_TORTURE_KILLS)
torture: $(READY)
	@echo "$(TENANTS_TORTURE_KILLS) kills, TENANTS_TORTURE_SEED=$(TENANTS_TORTURE_SEED)"
	@$(BIN)/python -m pytest tests/torture

GIGABYTES ?= 0.1
ROWS ?= 3000

bench: bench-deploys bench-memory bench-restore bench-stalls

bench-deploys: $(READY)
	@$(BIN)/python -m benchmarks.deploys --tenants $(or $(TENANTS),200) --times $(or $(TIMES),3) \
		--megabytes $(or $(MEGABYTES),1000) --write docs/performance.md

bench-memory: $(READY)
	@$(BIN)/python -m benchmarks.memory --gigabytes $(GIGABYTES)

bench-restore: $(READY)
	@$(BIN)/python -m benchmarks.restore_latency --megabytes $(or $(MEGABYTES),30) --times $(or $(TIMES),1)

bench-stalls: $(READY)
	@$(BIN)/python -m benchmarks.stalls --rows $(ROWS) --times $(or $(TIMES),1)

SHELL_FILES = $(shell grep -rlI '^\#!.*sh$$' hooks)

check: lint types test

lint: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/shfmt --diff --indent 2 --case-indent $(SHELL_FILES)
	@$(BIN)/shellcheck $(SHELL_FILES)

types: $(READY)
	@$(BIN)/mypy

docs: $(READY)
	@$(BIN)/python tests/attacks/page.py

# Not --quiet: MkDocs counts no warning then, and a broken link would be none.
site: $(READY)
	@$(BIN)/mkdocs build
	@echo "build/site/index.html"

release: $(READY)
	@PATH="$(CURDIR)/$(BIN):$$PATH" hooks/release

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build
