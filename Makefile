# `make` is the menu. On a fresh machine: Python 3.11, make and git are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
XDIST ?= 2
# Installing compiles nothing, so what is imported has to be kept compiled: each of a thousand child processes would do it again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint spec bench bench-faults gallery format clean

help:  ## show this menu
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo  ## train real classifiers on handwritten digits, recorded
	$(BIN)/barograph demo

lint: $(VENV)/.dev  ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint  ## everything that must be green, in a few minutes
	$(BIN)/python -m pytest -m "not slow" -n $(XDIST)

test-all: lint  ## also what takes long: 200 rounds of kill -9, a million steps
	$(BIN)/python -m pytest -n $(XDIST)

spec: $(VENV)/.dev  ## which numbered lines of docs/spec have a test
	$(BIN)/python -m pytest --collect-only -q --spec-report -p no:randomly

bench: $(VENV)/.dev  ## recording and reading beside their floors and peers; writes docs/benchmarks*.md
	$(BIN)/python -m bench
	$(BIN)/python -m bench.reading

bench-faults: $(VENV)/.dev  ## real trainings with real faults, judged; writes docs/detection.md and the table of docs/rules.md
	$(BIN)/python -m bench.faults generate
	$(BIN)/python -m bench.faults score --split held_out --document docs/detection.md
	$(BIN)/python -m bench.faults.eta --document docs/rules.md

gallery: $(VENV)/.dev  ## record small trainings and draw them; writes docs/gallery
	$(BIN)/python docs/gallery/make.py

format: $(VENV)/.dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the other targets made
	rm -rf $(VENV) .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
