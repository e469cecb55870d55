"""A step is tried again while it gets on, and not for ever where it does not."""

from pathlib import Path

from ablate.driver.retries import LIMITS, RetryPolicy
from ablate.store.artifacts import Store
from ablate.store.lease import Watch
from ablate.store.steps import Step

STEP = Step("pretrain", "one", {"n": 1})


def attempt(store: Store, reached: int) -> None:
    """Someone took the step, came so far, and gave it back."""
    lease = Watch().take(store.leases(STEP))
    assert lease
    lease.done, lease.total = reached, 100
    lease.release()


def test_being_stopped_counts_only_where_the_step_does_not_get_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    attempts = RetryPolicy(store)
    for reached in range(1, 50):
        attempt(store, reached)
        assert attempts.exhausted(STEP, "stopped") is None
    for _ in range(LIMITS["stopped"] - 2):
        attempt(store, 40)
        assert attempts.exhausted(STEP, "stopped") is None
    assert attempts.exhausted(STEP, "stopped") == "10 times without getting further"


def test_a_process_that_dies_has_fewer_attempts_than_one_that_is_stopped(tmp_path: Path) -> None:
    attempts = RetryPolicy(Store(tmp_path))
    assert attempts.exhausted(STEP, "stopped") is None
    said = [attempts.exhausted(STEP, "lost") for _ in range(3)]
    assert said == [None, None, "3 times without getting further"]
    assert attempts.exhausted(STEP, "stopped") is None
