"""Proxies: what is known of a candidate without training it in full, as one number. One file each.

A proxy is one file: its name is the file's, and its class, named the same in CamelCase, a `Proxy`.
Another package adds its own through the entry-point group `ablate.proxies`. `ablate proxy` holds
each against the scores that a study has, as none is worth more than its hit rate. What they look at
are features of frozen encoders and of the language model, made by a step of kind `features` each
(`features_step`); only doing such a step needs torch.
"""

from ablate.errors import UserError
from ablate.proxies._interface import Evidence as Evidence
from ablate.proxies._interface import Proxy as Proxy
from ablate.proxies._interface import View as View
from ablate.proxies._interface import joined as joined
from ablate.proxies._steps import Seen as Seen
from ablate.proxies._steps import features_step as features_step
from fusion_zoo import Registry

PROXIES = Registry("proxy", __name__, __name__, error=UserError)
names = PROXIES.names


def find(name: str) -> Proxy:
    """The proxy of this name. UserError for an unknown one, naming the nearest, and for what
    another package calls one and is none."""
    with PROXIES.blame(name, "judge a candidate"):
        proxy = PROXIES.load(name)()
        if not isinstance(proxy, Proxy):
            raise TypeError(f"{proxy!r} is no ablate.proxies.Proxy")
        return proxy


def score(name: str, known: Evidence) -> float | None:
    """What a proxy says; None where what it needs is not known. UserError for one of another
    package that fails."""
    with PROXIES.blame(name, "judge a candidate"):
        return find(name).score(known)
