"""How often Python looks for garbage: objects that only refer to each other."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS = 50_000
"""New objects after which it looks among them."""


def collect_rarely() -> None:
    """Have Python look after `OBJECTS` new ones, where it would after 700.

    A fifth of what it takes to import torch and what stands on it is that search, which finds next
    to nothing: what is imported stays.
    """
    if 0 < gc.get_threshold()[0] < OBJECTS:
        gc.set_threshold(OBJECTS, 20, 20)


@contextmanager
def without_gc() -> Iterator[None]:
    """For a command that reads: no search for garbage, not even at the end of the process. Of what
    a study has left there are many objects, and all are of use as long as it runs."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if "torch" not in sys.modules:  # whose triton tells at the end what was not collected
            gc.freeze()
        if before:
            gc.enable()
