"""Proxies: what is known of a candidate without training it in full, as one number. One file each.

A proxy is one file: its name is the file's, and its class, named the same in CamelCase, a `Proxy`.
`ablate proxy` holds each against the scores that a study has, as none is worth more than its hit
rate. What they look at are features of frozen encoders and of the language model, made by a step of
kind `features` each (`see`). Only that step needs torch.
"""

from functools import cache
from importlib import import_module
from pathlib import Path

from ablate.proxies._interface import Evidence as Evidence
from ablate.proxies._interface import Proxy as Proxy
from ablate.proxies._interface import View as View

_ELSE = {"see", "steps"}


@cache
def names() -> list[str]:
    """Every proxy there is, in alphabetical order."""
    files = (file.stem for file in Path(__file__).parent.glob("[!_]*.py"))
    return sorted(name for name in files if name not in _ELSE)


def find(name: str) -> Proxy:
    """The proxy of this name, one of `names()`."""
    words = name.title().replace("_", "")
    proxy: Proxy = getattr(import_module(f"{__name__}.{name}"), words)()
    return proxy
