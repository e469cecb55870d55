"""How this process computes on its processor: faster than torch does by itself, to the same bits.

Memory: what a step frees is kept for the next, which would else have it mapped and cleared anew.

Products of matrices on AMD processors with AVX-512: torch multiplies with MKL, which keeps to AVX2
there, and convolves with oneDNN, which takes what there is and half the time. Up to `SUMMED`
products both add up one after the other, so there one may stand in for the other; longer sums each
cuts in pieces of its own, and those stay MKL's.
"""

import ctypes
import os
import sys
import warnings
from contextlib import suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ablate.store.record import machine

KEPT, MAPPED = 2**28, 2**25
"""Bytes of freed memory that are kept, and those of a piece that is mapped by itself."""
SUMMED = 192
"""Products of a sum that both add up in the same order."""
SIDE = 16
"""Rows and columns of a result that both make so, and that is worth it."""


def tune() -> None:
    """Set this process up to compute faster. It may be told so more than once."""
    _keep_memory()
    amd = machine()["cpu"].startswith("AMD")
    mkl = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    both = mkl and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    if amd and both and torch.backends.cpu.get_cpu_capability() == "AVX512":
        _put_in()


def _keep_memory() -> None:
    """Where the C library is glibc, and the user has not set it."""
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        with suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL("libc.so.6").mallopt
            mallopt(-1, KEPT)  # M_TRIM_THRESHOLD
            mallopt(-3, MAPPED)  # M_MMAP_THRESHOLD


@cache
def _put_in() -> Any:
    """Our kernels for the processor in place of torch's; what holds them there."""
    product = torch.ops.mkldnn._linear_pointwise.default  # input, weight, bias, then what follows
    mm, addmm = (torch.library.get_kernel(name, "CPU") for name in ("aten::mm", "aten::addmm"))

    def our_mm(keys: Any, left: Tensor, right: Tensor) -> Any:
        if _is_small(left, right):
            return product(left, right.t(), None, "none", [], "")
        return mm.call_boxed(keys, left, right)

    def our_addmm(
        keys: Any, bias: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1
    ) -> Any:
        plain = bias.dtype == torch.float32 and bias.shape == right.shape[1:] and beta == alpha == 1
        if plain and _is_small(left, right):
            return product(left, right.t(), bias, "none", [], "")
        return addmm.call_boxed(keys, bias, left, right, beta=beta, alpha=alpha)

    library: Any = torch.library.Library("aten", "IMPL", "CPU")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*Overriding a previously registered kernel")
        library.impl("mm", our_mm, with_keyset=True)
        library.impl("addmm", our_addmm, with_keyset=True)
    return library


def _is_small(left: Tensor, right: Tensor) -> bool:
    (rows, summed), (inner, columns) = left.shape, right.shape
    fits = 0 < summed <= SUMMED and min(rows, columns) >= SIDE and inner == summed
    return fits and left.dtype == right.dtype == torch.float32
