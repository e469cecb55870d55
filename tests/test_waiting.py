"""Waiting looks at once, and no longer than it is told to."""

import time

from ablate.polling import wait_until


def test_what_is_true_already_takes_no_time_and_none_has_to_be_given() -> None:
    began = time.monotonic()
    assert wait_until(0.0, lambda: True, pause=60.0)
    assert time.monotonic() - began < 30


def test_what_comes_true_is_seen_and_what_does_not_ends_the_wait() -> None:
    looks = iter([False, False, True])
    assert wait_until(60.0, lambda: next(looks), pause=0.0)
    assert not wait_until(0.02, lambda: False, pause=0.01)
