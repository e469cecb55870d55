"""What `make bench` prints: what users pay for beside what they would else pay, in one table.

    python benchmarks/bench.py [--small]

Each benchmark here runs in a process of its own, one after the other; its docstring says what it
measures. A ratio below one is a cost that is less. `--small`: at the smallest size, as a test.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context

from rows import Row, shown

SMALLEST: Mapping[str, Mapping[str, int]] = {
    "fit": {"steps": 2, "images": 12, "batch": 4},
    "step": {"steps": 2, "images": 12, "batch": 4, "tokens": 8, "vocabulary": 99, "compiled": 0},
    "answering": {"questions": 4, "tokens": 2},
    "fusions": {"repeats": 1, "width": 16},
    "startup": {"rounds": 1},
    "driver": {"steps": 3},
    "scale": {"candidates": 4},
}


def measured(name: str, sizes: Mapping[str, int]) -> list[Row]:
    """The rows of a benchmark, in a process of its own; what it prints beside goes to stderr."""
    os.dup2(2, 1)
    found: list[Row] = import_module(name).rows(**sizes)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    found: list[Row] = []
    for name, sizes in SMALLEST.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        with ProcessPoolExecutor(1, mp_context=get_context("fork")) as alone:
            found += alone.submit(measured, name, sizes if small else {}).result()
    print(shown(found))


if __name__ == "__main__":
    main()
