# What `make` can do here; each target with its one line of help.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA_DIR ?= ../shared/data

.DEFAULT_GOAL := help

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/mace-train: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

install: $(BIN)/mace-train  ## create .venv and install mace-train with all that development needs

train: install  ## train the default model on the bundled sample (under 5 minutes on 2 cores)
	$(BIN)/mace-train

format: install  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet .

lint: install  ## formatting, lint, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell mace_train configs scripts tests benchmarks docs *.md

types: install  ## type check
	$(BIN)/pyright --pythonpath $(BIN)/python

test: install  ## the tests (under 8 minutes on 2 cores)
	$(BIN)/python -m pytest -q -n 2

test-slow: install  ## the slow tests: several processes, whole runs, other e3nn versions
	$(BIN)/python -m pytest -q -m slow

test-all: test test-slow  ## every test

reference: install  ## write docs/reference/configuration.md anew from the code
	$(BIN)/python scripts/make_reference.py

docs: install  ## the documentation as a site, into site/; a broken link ends it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check: lint types docs test test-slow  ## all that CI does

parity: install  ## exchange of files with mace-torch, and learning beside it (makes an environment)
	$(BIN)/python benchmarks/exchange.py
	$(BIN)/python benchmarks/parity.py --data-dir $(DATA_DIR)

bench: install  ## time and memory of a step and of MD against mace-torch (about 35 minutes)
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/md.py --again

bench-scale: install  ## balance, streaming, loading, opening, ranks and resume at full size
	$(BIN)/python benchmarks/scale.py --data-dir $(DATA_DIR)

bench-finetune: install  ## fine-tuning against training from nothing, by frames (about 2 hours)
	$(BIN)/python benchmarks/finetune.py --data-dir $(DATA_DIR)

example-models: install  ## the models that the examples need, into examples/models/ (under an hour on two cores)
	$(BIN)/python -m pip install --quiet --editable '.[dev,examples]'
	$(BIN)/python examples/make_models.py --data-dir $(DATA_DIR) --jobs 2

examples: example-models  ## all examples at full size; their gates into docs/examples.md
	$(BIN)/python examples/gates.py --data-dir $(DATA_DIR) --jobs 2

clean:  ## remove environments, caches and build products (runs/ stays)
	rm -rf $(VENV) .env-* build dist site *.egg-info .pytest_cache .ruff_cache

.PHONY: help install train format lint types test test-slow test-all reference docs check parity bench bench-scale bench-finetune example-models examples clean
