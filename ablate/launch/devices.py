"""The processors and GPUs of this machine."""

import os
from pathlib import Path


def cores() -> int:
    """The CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [card for card in named.split(",") if card and card != "-1"]
    devices = Path("/dev").glob("nvidia*")
    return sorted(card.name[6:] for card in devices if card.name[6:].isdecimal())
