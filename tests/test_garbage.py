"""Python looks for garbage rarely, unless it was told how often."""

import gc

import pytest

from ablate.garbage import OBJECTS, collect_rarely, without_gc


@pytest.mark.parametrize(
    ("before", "after"), [(700, OBJECTS), (2000, OBJECTS), (0, 0), (90_000, 90_000)]
)
def test_it_collects_more_rarely_but_never_more_often_than_it_was_told(before, after):
    thresholds = gc.get_threshold()
    try:
        gc.set_threshold(before, 10, 10)
        collect_rarely()
        assert gc.get_threshold()[0] == after
    finally:
        gc.set_threshold(*thresholds)


def test_a_reader_within_another_leaves_garbage_alone_until_the_outer_one_ends() -> None:
    with without_gc():
        with without_gc():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
