"""The networks that encoders take from timm, which is imported here alone.

timm imports wandb wherever it is installed (as lmms-eval has it), for a training script that nobody
uses here: seconds of CPU in every worker. To timm it is as if not installed.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(package: str) -> Iterator[None]:
    """Imports of a package fail meanwhile, as where it is not installed; not if it is loaded."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # as Python's import system has it
    try:
        yield
    finally:
        del sys.modules[package]


with absent("wandb"):
    from timm import create_model
    from timm.models.convnext import ConvNeXt
    from timm.models.eva import Eva

__all__ = ["ConvNeXt", "Eva", "create_model"]
