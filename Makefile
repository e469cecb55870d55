# Each target does all of its own set-up on a machine with Python 3.11, git and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-deepspeed check clean

demo: .venv/ready  ## the whole study on the micro scale: train, score, grow the mixture, report
	$(BIN)/ablate run --round 3

test: .venv/ready  ## the whole test suite
	$(BIN)/pytest

test-deepspeed: .venv/ready  ## the tests of DeepSpeed, which other libraries would load if it were in .venv
	$(BIN)/python -m venv --clear .venv/deepspeed
	cd .venv && lib=$$(echo lib/python*/site-packages) && echo "$$PWD/$$lib" > deepspeed/$$lib/ablate.pth
	.venv/deepspeed/bin/python -m pip install --quiet --constraint constraints.txt deepspeed
	PATH="$$PWD/.venv/deepspeed/bin:$$PATH" .venv/deepspeed/bin/python -m pytest -m deepspeed tests/train

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
