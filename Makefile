# Two commands do everything from nothing: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What the demo needs, what the tests need, and what the tests on a Milvus server need.
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev
SERVER_READY := $(VENV)/.ready-server
DOCS_READY := $(VENV)/.ready-docs
export PIP_CONSTRAINT := constraints.txt
export UV_CONSTRAINT := constraints.txt
export UV_BUILD_CONSTRAINT := constraints.txt
export UV_SYSTEM_CERTS := true
# uv leaves compiling to the first import; where the environment forbids to keep what was compiled, each of the many
# processes would compile everything again (a run of one file: 5.7 s of CPU instead of 1.6).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-server coverage test-slow test-prefect test-crashes lint bench docs clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo   set up, ingest the sample corpus into demo/, run again, and search it"
	@echo "make test   set up, then lint, types, import contract and all tests"
	@echo "make test-server  run the tests that need a Milvus server against a real one; Linux on x86-64"
	@echo "make coverage  the share of lines and branches that the tests reach; takes twice as long"
	@echo "make test-slow  what takes its time: limits in real time, an account shared by processes, a Dask cluster; three minutes"
	@echo "make test-prefect  run millrace serve and a Prefect server as processes, and kill them; takes minutes"
	@echo "make test-crashes  kill runs at every step and at many random moments; takes minutes"
	@echo "make lint   ruff, mypy and the import contract alone"
	@echo "make bench  measure every target beside the bare way; prints one table, takes about 15 minutes"
	@echo "make docs   write the generated pages and build the documentation as a site into build/site; strict about links"
	@echo "make clean  remove what these commands made"

# uv does in seconds what takes pip minutes: the one on the path, else the pinned one that pip puts into the environment.
# Where neither can be had, or it cannot install, pip. Python's own pip is quicker than one that is set up for this.
define install
	@uv=$$(command -v uv) || uv=$(BIN)/uv; \
	[ -x $$uv ] || { echo "No uv on the path: pip puts it into $(VENV)."; $(PYTHON) -m $(PIP) --quiet uv; } || { $(own_pip) --quiet uv; }; \
	if [ -x $$uv ] && $$uv pip install --python $(BIN)/python --editable $(1); then :; \
	elif echo "uv cannot: pip installs the packages, which takes minutes." && $(own_pip) --editable $(1); then :; \
	else echo "Packages cannot be had. Set-up needs an index of packages: the network, a mirror (UV_DEFAULT_INDEX and PIP_INDEX_URL), or"; \
	echo "a folder of wheels (UV_FIND_LINKS and PIP_FIND_LINKS). What has been set up needs none."; exit 1; fi
	@touch $@
endef
# By name, because a comma in a call would end its argument.
WITH_SERVER := '.[dev,server-tests]'
WITH_DOCS := '.[dev,docs]'
PIP := pip --disable-pip-version-check --python $(BIN)/python install
own_pip = $(BIN)/python -m ensurepip >/dev/null && $(BIN)/python -m $(PIP)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "millrace needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv --without-pip $(VENV)

$(READY): $(BIN)/python pyproject.toml constraints.txt
	$(call install,'.[semantic]')

$(DEV_READY): $(BIN)/python pyproject.toml constraints.txt
	$(call install,'.[dev]')

$(SERVER_READY): $(DEV_READY)
	$(call install,$(WITH_SERVER))

$(DOCS_READY): $(DEV_READY)
	$(call install,$(WITH_DOCS))

DEMO := --set lake.path=demo/lake --set milvus.uri=demo/milvus.db

demo: $(READY)
	@rm -rf demo && mkdir demo
	$(BIN)/millrace ingest data/sample $(DEMO) --set embedding.model=semantic-v1
	@echo "\nAgain: nothing has changed, so nothing is embedded and nothing is written."
	$(BIN)/millrace ingest data/sample $(DEMO)
	@echo "\nA question in Chinese (where are the keys?); an English passage answers it, on page 3 of a PDF."
	$(BIN)/millrace search "钥匙放在哪里" $(DEMO) --set search.top_n=1
	@echo "\nA question that shares no word of importance with the passage that answers it."
	$(BIN)/millrace search "protecting our data from ransomware" $(DEMO) --set search.top_n=1

lint: $(DEV_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Three at a time also on two cores: many tests wait for a process they have started.
test: lint
	$(BIN)/pytest -q -n 3 --dist worksteal

# Required: without a server this fails, where a plain `pytest -m server` skips.
test-server: $(SERVER_READY)
	MILLRACE_TEST_SERVER=required $(BIN)/pytest -q -m server

# What the tests of `make test` reach, lines and branches, also in the processes that they start; takes twice as long.
coverage: $(DEV_READY)
	$(BIN)/pytest -q -n 3 --dist worksteal --cov --cov-report=term:skip-covered --ignore=tests/system/wheel

# Alone on the machine: some of these measure how well a limit is used.
test-slow: $(DEV_READY)
	$(BIN)/pytest -q -m slow

test-prefect: $(DEV_READY)
	$(BIN)/pytest -q -m operated

test-crashes: $(DEV_READY)
	$(BIN)/pytest tests/system/crashes -m thorough

# With a Milvus server where one can be installed; elsewhere its rows say that they were not measured.
bench: $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),$(SERVER_READY),$(DEV_READY))
	$(BIN)/python -m tests.benchmarks

# `python docs/generate.py --examples` also writes the outputs of the examples anew, by running them; it takes minutes.
docs: $(DOCS_READY)
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
