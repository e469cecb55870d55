"""The loss after a twentieth of the last stage."""

from math import ceil

from ablate.proxies._interface import Evidence, Proxy

SHARE = 0.05


class EarlyLoss(Proxy):
    """Minus the mean loss over the second half of the first 5 % of its steps, as the candidate was
    trained: what stopping there would have known."""

    title = "loss after 5 %"
    short = "LOSS"
    of_features = False

    def score(self, known: Evidence) -> float | None:
        early = known.losses[: ceil(SHARE * len(known.losses))]
        late = early[len(early) // 2 :]
        return -sum(late) / len(late) if late else None
