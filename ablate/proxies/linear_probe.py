"""A linear probe on pooled features: which words of an image's text it tells."""

import numpy as np
from scipy.stats import rankdata

from ablate.proxies._interface import Evidence, Proxy, joined, left_out

FEWEST = 5
"""Images that have a word, and that lack it, for it to be asked."""


class LinearProbe(Proxy):
    """Mean area under the ROC curve, 0.5 to 1, over the words of the texts: one ridge regression a
    word, judged on images left out (Alain and Bengio 2016, arXiv 1610.01644)."""

    title = "linear probe"
    short = "PROBE"

    def score(self, known: Evidence) -> float | None:
        count = known.words.sum(0)
        asked = known.words[:, (count >= FEWEST) & (count <= len(known.words) - FEWEST)]
        if not asked.shape[1]:
            return None
        ranks = rankdata(left_out(joined(known.views), asked.astype(float)), axis=0)
        there = asked.sum(0)
        above = (ranks * asked).sum(0) - there * (there + 1) / 2
        return float(np.mean(above / (there * (len(asked) - there))))
