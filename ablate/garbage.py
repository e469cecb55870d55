"""How often Python looks for garbage: objects that only refer to each other."""

import gc

OBJECTS = 50_000
"""New objects after which it looks among them."""


def collect_rarely() -> None:
    """Have Python look after `OBJECTS` new ones, where it would after 700.

    A fifth of what it takes to import torch and what stands on it is that search, which finds next
    to nothing: what is imported stays.
    """
    if 0 < gc.get_threshold()[0] < OBJECTS:
        gc.set_threshold(OBJECTS, 20, 20)
