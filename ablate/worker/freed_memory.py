"""What a process frees: kept for what it needs next, or given back."""

import ctypes
import os
import sys
from contextlib import suppress

KEPT, MAPPED = 2**28, 2**25
"""Bytes of freed memory that are kept, and those of a piece that is mapped by itself."""
LARGE = 2**20
"""Bytes of a piece that goes back as soon as it is freed, where memory is to stay small."""


def keep_freed_memory() -> None:
    """Have glibc keep freed memory, unless the user has set it otherwise (`MALLOC_...`).

    It gives the memory of each training step back to the system, which maps and clears it anew for
    the next: up to a tenth of a step's time on a CPU.
    """
    _set(KEPT, MAPPED)


def give_large_pieces_back() -> None:
    """Have glibc give large pieces back to the system, unless the user has set it otherwise.

    By itself it keeps them in its heap once one was freed, where small ones that stay come between
    them: a tenth of what the report of ten thousand candidates takes.
    """
    _set(8 * LARGE, LARGE)


def _set(kept: int, mapped: int) -> None:
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        with suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL("libc.so.6").mallopt
            mallopt(-1, kept)  # M_TRIM_THRESHOLD
            mallopt(-3, mapped)  # M_MMAP_THRESHOLD
