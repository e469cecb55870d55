# Each target does all of its own set-up on a machine with Python 3.11, git and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check clean

demo: .venv/ready  ## the whole study on the micro scale: train, score, grow the mixture, report
	$(BIN)/ablate run --round 3

test: .venv/ready  ## the whole test suite
	$(BIN)/pytest

check: .venv/ready  ## lint, format, types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv runs
