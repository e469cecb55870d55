"""Cross-modal alignment: how near a linear projector brings the images to the language model.

After the A score of "Law of Vision Representation" (Yang et al. 2024, arXiv 2408.16357), which
takes trained projectors; ours is the best linear one, in closed form, judged on what it did not
see.
"""

import numpy as np

from ablate.proxies._interface import Evidence, Proxy, joined, left_out


class Alignment(Proxy):
    """Mean cosine, -1 to 1, between an image's text in the language model and where ridge
    regression on all other images puts the image."""

    title = "alignment"
    short = "ALIGN"

    def score(self, known: Evidence) -> float:
        text = known.text - known.text.mean(0)
        guessed = left_out(joined(known.views), text)
        norms = np.linalg.norm(text, axis=1) * np.linalg.norm(guessed, axis=1)
        return float(((text * guessed).sum(1) / norms.clip(min=1e-12)).mean())
