"""What a process frees is kept for what it needs next."""

import ctypes
import os
import sys
from contextlib import suppress

KEPT, MAPPED = 2**28, 2**25
"""Bytes of freed memory that are kept, and those of a piece that is mapped by itself."""


def keep_freed_memory() -> None:
    """Have glibc keep freed memory, unless the user has set it otherwise (`MALLOC_...`).

    It gives the memory of each training step back to the system, which maps and clears it anew for
    the next: up to a tenth of a step's time on a CPU.
    """
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        with suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL("libc.so.6").mallopt
            mallopt(-1, KEPT)  # M_TRIM_THRESHOLD
            mallopt(-3, MAPPED)  # M_MMAP_THRESHOLD
