"""Which samples each optimiser step learns from, addressed by the step's number.

Nothing is remembered between steps, so a resumed run goes on at the very next sample.
"""

import heapq

import numpy as np
import numpy.typing as npt


class Order:
    """An endless stream of seeded permutations of `samples`, cut into batches.

    Batches run across the ends of epochs: every sample is seen once in each epoch and nothing is
    dropped. Only at the end of training is a last batch left out that would not be full.
    """

    def __init__(self, samples: int, batch_size: int, seed: int) -> None:
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self._known: dict[int, npt.NDArray[np.int64]] = {}

    def steps(self, epochs: float) -> int:
        """The number of full batches in `epochs` passes over the samples; at least one."""
        return max(1, int(epochs * self.samples) // self.batch_size)

    def batch(self, step: int) -> npt.NDArray[np.int64]:
        """The samples (batch_size,) of optimiser step `step`, counted from 0."""
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, places = np.divmod(places, self.samples)
        self._known = {e: self._permutation(e) for e in np.unique(epochs).tolist()}
        return np.concatenate(
            [order[places[epochs == epoch]] for epoch, order in self._known.items()]
        )

    def _permutation(self, epoch: int) -> npt.NDArray[np.int64]:
        return self._known[epoch] if epoch in self._known else self._shuffled(epoch)

    def _shuffled(self, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.samples)


class GroupedOrder(Order):
    """An order whose batches are of one kind, with or without images, and sorted by length.

    As LLaVA's `group_by_modality_length`: which samples meet in a batch is left to chance, so no
    step is biased; but neighbours in it, and so the micro-batches cut from it, are of similar
    length, the longest first. Two batches an epoch may hold both kinds: where the kinds do not
    come out even, and across the end of the epoch. Nothing is seen twice or dropped.
    """

    def __init__(
        self,
        lengths: npt.NDArray[np.int64],
        has_image: npt.NDArray[np.bool_],
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(len(lengths), batch_size, seed)
        self.lengths = lengths
        self.has_image = has_image

    def batch(self, step: int) -> npt.NDArray[np.int64]:
        rows = super().batch(step)
        return rows[np.argsort(-self.lengths[rows], kind="stable")]

    def _shuffled(self, epoch: int) -> npt.NDArray[np.int64]:
        """A permutation in which every batch that lies within the epoch is of one kind."""
        draw = np.random.default_rng([self.seed, epoch])
        rows = draw.permutation(self.samples)
        begun, rows = np.split(rows, [min(-epoch * self.samples % self.batch_size, self.samples)])
        kinds = [rows[self.has_image[rows]], rows[~self.has_image[rows]]]
        even = [len(kind) - len(kind) % self.batch_size for kind in kinds]
        whole = [kind[:n].reshape(-1, self.batch_size) for kind, n in zip(kinds, even, strict=True)]
        rest = [kind[n:] for kind, n in zip(kinds, even, strict=True)]
        return np.concatenate([begun, draw.permutation(np.concatenate(whole)).ravel(), *rest])


def cut_evenly(lengths: npt.NDArray[np.int64], pieces: int) -> list[npt.NDArray[np.int64]]:
    """The numbers (n,) of samples of so many tokens, in pieces of about as many tokens together.

    The longest first, each to the piece that is the shortest so far (longest processing time:
    Graham 1969), at most a third longer than can be. None is longer than ceil(n / pieces) samples
    of the longest. Pieces of similar length lie side by side, the longest first.
    """
    held: list[list[int]] = [[] for _ in range(pieces)]
    shortest = [(0, number) for number in range(pieces)]
    for sample in np.argsort(-lengths, kind="stable").tolist():
        tokens, number = shortest[0]
        held[number].append(sample)
        heapq.heapreplace(shortest, (tokens + int(lengths[sample]), number))
    ordered = sorted(shortest, key=lambda piece: (-piece[0], piece[1]))
    return [np.array(sorted(held[number]), dtype=np.int64) for _, number in ordered]
