"""The same candidates with a smaller language model: a study of its own (`--small`)."""

from ablate.proxies._interface import Evidence, Proxy


class SmallLlm(Proxy):
    """The composite that the candidate's mixture has in the other study."""

    title = "smaller language model"
    short = "SMALL"
    of_features = False

    def score(self, known: Evidence) -> float | None:
        return known.smaller
