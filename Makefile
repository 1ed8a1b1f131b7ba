# Everything a developer runs. Needs Python 3.11 or later, git and make; uv is used when it is there.

VENV ?= .venv
# The first interpreter that really runs (a pyenv shim may not) and can make environments.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	"$$p" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
BIN = $(VENV)/bin
VERSIONS = 3.11 3.12 3.13
TYPED = fluxo $(wildcard tests/typing/*.py)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check lint types layers pytest sim sim-long zoo coverage bench bench-peers test-pythons clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-13s %s\n", $$1, $$2 }'

demo: $(VENV)/.with-$(if $(filter-out sqlite memory,$(STORE)),demo,cli) ## run the example; on your orders, or elsewhere: make demo ORDERS=<directory> STORE=postgresql
	$(BIN)/python -m examples.orders $(if $(ORDERS),--orders "$(ORDERS)") $(if $(STORE),--store "$(STORE)")

test: check pytest sim ## everything CI runs: lint, types, layers, tests, simulation

check: lint types layers ## everything but the tests

lint: $(VENV)/.with-dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.with-dev ## mypy --strict and pyright
	$(BIN)/mypy $(TYPED)
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python $(TYPED)

layers: $(VENV)/.with-dev ## imports run one way
	$(BIN)/lint-imports

pytest: $(VENV)/.with-dev ## the tests alone; make pytest ARGS="-k replay"
	$(BIN)/python -m pytest $(ARGS)

sim: $(VENV)/.with-dev ## 50,000 simulated crashes, each survived
	$(BIN)/python -m tests.simulation --crashes 50000 $(ARGS)

sim-long: $(VENV)/.with-dev ## 1,000,000 simulated crashes, every pair for short runs
	$(BIN)/python -m tests.simulation --crashes 1000000 --pairs $(ARGS)

zoo: $(VENV)/.with-dev ## break one rule after the other: a test must notice
	$(BIN)/python -m tests.zoo $(ARGS)

coverage: $(VENV)/.with-dev ## which branches no test takes
	$(BIN)/coverage run -m pytest -q --timeout=600 -o faulthandler_timeout=900 $(ARGS)
	$(BIN)/coverage report --skip-covered --fail-under=95
	$(BIN)/coverage report --skip-covered --fail-under=100 --include='fluxo/model/*,fluxo/codec/*,fluxo/replay/*'

bench: $(VENV)/.with-dev ## measure this machine and fluxo on it
	$(BIN)/python -m bench

bench-peers: $(VENV)/.with-dev ## measure other libraries beside fluxo
	$(BIN)/python -m bench.peers

test-pythons: ## the tests under each of Python 3.11, 3.12, 3.13 found here
	@ran=; for v in $(VERSIONS); do \
		found=; for p in python$$v "$$HOME"/.pyenv/versions/$$v.*/bin/python$$v; do \
			"$$p" -c 'import ensurepip' 2>/dev/null && found=$$p && break; done; \
		if [ -z "$$found" ]; then echo "Python $$v: not found here, not tested"; continue; fi; \
		echo "Python $$v: $$found"; \
		$(MAKE) --no-print-directory pytest PYTHON="$$found" VENV=.venv-$$v || exit 1; ran="$$ran $$v"; \
	done; \
	if [ -z "$$ran" ]; then echo "no Python of $(VERSIONS) found"; exit 1; fi; echo "tested with Python$$ran"

clean: ## remove caches and build output; environments stay
	rm -rf build dist .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

# An environment with one extra installed; made anew when the dependencies change.
$(VENV)/.with-%: pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or later with ensurepip found; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@if command -v uv >/dev/null; then \
		test -x $(BIN)/python || uv venv --quiet --python "$(PYTHON)" $(VENV); \
		uv pip install --quiet --python $(BIN)/python --editable '.[$*]'; \
	else \
		test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV); \
		$(BIN)/python -m ensurepip >/dev/null && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'; \
	fi
	@touch $@
