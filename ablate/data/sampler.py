"""Which samples each optimiser step learns from, addressed by the step's number.

Nothing is remembered between steps, so a resumed run goes on at the very next sample.
"""

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
        if epoch in self._known:
            return self._known[epoch]
        return np.random.default_rng([self.seed, epoch]).permutation(self.samples)
