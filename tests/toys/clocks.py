"""A clock that a test need not wait for."""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest


@dataclass
class Clock:
    """`passed`: for how many seconds the test and what it calls have slept, in no time.

    `asleep`: what happens elsewhere whenever they do.
    """

    passed: float = 0.0
    asleep: Callable[[], object] = field(default=lambda: None)


@pytest.fixture
def sleepless(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """`time.sleep` ends at once in the test's thread, and `time.monotonic` is later by as much.

    A clock goes on, too; what another thread or process does takes the time that it takes.
    """
    clock, tester = Clock(), threading.current_thread()
    sleep, monotonic = time.sleep, time.monotonic

    def doze(seconds: float) -> None:
        waits_for_child = sys._getframe(1).f_globals["__name__"] == "subprocess"
        if waits_for_child or threading.current_thread() is not tester:
            sleep(seconds)
            return
        clock.passed += seconds
        clock.asleep()

    monkeypatch.setattr(time, "sleep", doze)
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + clock.passed)
    return clock
