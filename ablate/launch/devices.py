"""The processors and GPUs of this machine."""

import os
from pathlib import Path

from ablate.errors import UserError


def cores() -> int:
    """The CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chosen_device(asked: str) -> str:
    """`cpu` or `cuda` of this machine, where `infra.device` is `asked`.

    Raises UserError for a GPU where there is none.
    """
    here = bool(gpus())
    if asked == "cuda" and not here:
        raise UserError("infra.device is cuda, but there is no GPU here; choose auto or cpu")
    return ("cuda" if here else "cpu") if asked == "auto" else asked


def gpus() -> list[str]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [card for card in named.split(",") if card and card != "-1"]
    devices = Path("/dev").glob("nvidia*")
    return sorted(card.name[6:] for card in devices if card.name[6:].isdecimal())
