"""Waiting for something that nobody announces: looking at it again and again."""

import time
from collections.abc import Callable


def wait_until(seconds: float, done: Callable[[], bool], pause: float) -> bool:
    """Whether it comes true in that time; looked at once at least, and every `pause` seconds."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
