"""The order of samples."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ablate.data.sampler import Order

orders = st.builds(
    Order, samples=st.integers(1, 50), batch_size=st.integers(1, 70), seed=st.integers(0, 9)
)


@given(order=orders, steps=st.integers(1, 12))
def test_every_epoch_shows_every_sample_once(order: Order, steps: int) -> None:
    stream = np.concatenate([order.batch(step) for step in range(steps)])
    for start in range(0, len(stream) - order.samples + 1, order.samples):
        assert sorted(stream[start : start + order.samples]) == list(range(order.samples))


@given(order=orders, step=st.integers(0, 40), before=st.lists(st.integers(0, 40), max_size=4))
def test_a_batch_depends_on_its_step_alone(order: Order, step: int, before: list[int]) -> None:
    fresh = Order(order.samples, order.batch_size, order.seed)
    for other in before:
        order.batch(other)
    np.testing.assert_array_equal(order.batch(step), fresh.batch(step))


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    order, other = Order(100, 100, seed=0), Order(100, 100, seed=1)
    assert order.batch(0).tolist() != order.batch(1).tolist()
    assert order.batch(0).tolist() != other.batch(0).tolist()


@given(order=orders, epochs=st.integers(1, 4))
def test_epochs_become_full_batches_and_at_least_one(order: Order, epochs: int) -> None:
    steps = order.steps(epochs)
    left_out = epochs * order.samples - steps * order.batch_size
    assert 0 <= left_out < order.batch_size or steps == 1
