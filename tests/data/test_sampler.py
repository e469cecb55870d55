"""The order of samples."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ablate.data.sampler import GroupedOrder, Order, cut_evenly

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


@st.composite
def grouped(draw: st.DrawFn) -> GroupedOrder:
    samples = draw(st.integers(1, 60))
    lengths = draw(st.lists(st.integers(1, 9), min_size=samples, max_size=samples))
    images = draw(st.lists(st.booleans(), min_size=samples, max_size=samples))
    size, seed = draw(st.integers(1, 20)), draw(st.integers(0, 9))
    return GroupedOrder(np.array(lengths), np.array(images), size, seed)


@given(order=grouped(), epochs=st.integers(1, 4))
def test_a_grouped_epoch_shows_every_sample_once(order: GroupedOrder, epochs: int) -> None:
    total = epochs * order.samples
    stream = np.concatenate([order.batch(step) for step in range(-(-total // order.batch_size))])
    # Sorting moves samples within their batch only, so whole batches are compared.
    whole = total // order.batch_size * order.batch_size
    plain = [order._permutation(epoch) for epoch in range(epochs)]
    assert sorted(stream[:whole]) == sorted(np.concatenate(plain)[:whole])
    for permutation in plain:
        assert sorted(permutation) == list(range(order.samples))


@given(order=grouped(), step=st.integers(0, 40), before=st.lists(st.integers(0, 40), max_size=4))
def test_a_grouped_batch_depends_on_its_step_alone(
    order: GroupedOrder, step: int, before: list[int]
) -> None:
    fresh = GroupedOrder(order.lengths, order.has_image, order.batch_size, order.seed)
    for other in before:
        order.batch(other)
    np.testing.assert_array_equal(order.batch(step), fresh.batch(step))


@given(order=grouped(), epochs=st.integers(1, 4))
def test_at_most_two_batches_an_epoch_are_of_both_kinds(order: GroupedOrder, epochs: int) -> None:
    steps = range(-(-epochs * order.samples // order.batch_size))
    kinds = [set(order.has_image[order.batch(step)].tolist()) for step in steps]
    assert sum(len(kind) == 2 for kind in kinds) <= 2 * epochs


@given(order=grouped(), step=st.integers(0, 9))
def test_a_grouped_batch_begins_with_its_longest(order: GroupedOrder, step: int) -> None:
    lengths = order.lengths[order.batch(step)]
    assert (np.diff(lengths) <= 0).all()


def test_which_samples_meet_and_when_is_left_to_chance() -> None:
    """Steps are of no particular length or kind at any time: only inside they are sorted."""
    draw = np.random.default_rng(0)
    lengths, images = draw.integers(1, 1000, 4000), draw.random(4000) < 0.5
    order = GroupedOrder(lengths, images, 20, seed=1)
    means = np.array([lengths[order.batch(step)].mean() for step in range(200)])
    kinds = np.array([images[order.batch(step)].mean() for step in range(200)])
    assert means.std() < 1.3 * lengths.std() / np.sqrt(20)
    assert abs(np.corrcoef(kinds[:-5], np.arange(195))[0, 1]) < 0.2
    assert order.batch(0).tolist() != GroupedOrder(lengths, images, 20, seed=2).batch(0).tolist()


lengths_of_samples = st.lists(st.integers(1, 2000), min_size=1, max_size=40)


@given(lengths=lengths_of_samples, pieces=st.integers(1, 50))
def test_pieces_hold_every_sample_once_and_none_is_longer_than_cut_by_number(
    lengths: list[int], pieces: int
) -> None:
    tokens = np.array(lengths)
    cut = cut_evenly(tokens, pieces)
    assert len(cut) == pieces
    assert sorted(np.concatenate(cut).tolist()) == list(range(len(lengths)))
    held = [int(tokens[piece].sum()) for piece in cut]
    assert held == sorted(held, reverse=True)
    assert held[0] <= -(-len(lengths) // pieces) * max(lengths)
    assert held[0] <= -(-sum(lengths) // pieces) + max(lengths)
