"""Linear layers by oneDNN, on processors where torch's own run at half the speed.

torch multiplies float32 matrices by MKL, whose kernels for AVX-512 run on Intel's processors alone.
oneDNN, which comes with torch and computes its convolutions, has them for AMD's, too. It is made to
give what MKL gives there, to the bit, so that a study stays the same digit by digit: both add up
the products of an element one after the other, MKL in the runs that `_runs` says, whose sums it
adds in turn.

Shapes: M N rows and columns of a product, K what is added up for each of its elements.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ablate.store.record import machine

RUN = 192
"""How many products of an element MKL adds up at a time."""
FEW = 16
"""Rows or columns below which MKL has other ways."""
LARGE = 2**20
"""Multiplications of a run from which on oneDNN is quicker, though it is called from Python."""
TRIED = ((300, 128, 256), (128, 1111, 128), (256, 256, 128), (64, 384, 512))
"""Products, by M, K, N, that must be those of torch where oneDNN is used."""


def use_onednn(model: nn.Module) -> None:
    """Have the linear layers of `model` be `OneDnnLinear`, where that is quicker and the same."""
    if _is_quicker() and _is_alike():
        for layer in model.modules():
            if type(layer) is nn.Linear:  # no other kind, which may compute otherwise
                layer.__class__ = OneDnnLinear


class OneDnnLinear(nn.Linear):
    """A linear layer that computes by oneDNN what is large, on the processor, in float32; anything
    else as torch does."""

    def forward(self, input: Tensor) -> Tensor:
        """(*,in_features) -> (*,out_features)."""
        flat = input.device.type == "cpu" and (self.bias is None or input.is_contiguous())
        if not flat or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        rows = input.reshape(-1, self.in_features)
        if not _is_large(rows, self.weight.t()):
            return super().forward(input)
        made: Tensor = _Linear.apply(rows, self.weight, self.bias)
        return made.view(*input.shape[:-1], self.out_features)


class _Linear(torch.autograd.Function):
    """(M,K), (N,K) and (N,) or None -> (M,N)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _product(rows, weight.t(), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        for_rows, for_weight, for_bias = ctx.needs_input_grad
        return (
            _multiply(slope, weight) if for_rows else None,
            _multiply(rows.t(), slope).t() if for_weight else None,
            slope.sum(0) if for_bias else None,
        )


def _multiply(left: Tensor, right: Tensor) -> Tensor:
    return _product(left, right, None) if _is_large(left, right) else left @ right


def _is_large(left: Tensor, right: Tensor) -> bool:
    """Whether these are matrices of which oneDNN makes the same, and sooner."""
    (rows, inner), columns = left.shape, right.shape[1]
    odd = RUN < inner <= 2 * RUN and inner % 2 == 1
    return (
        left.dtype == right.dtype == torch.float32
        and min(rows, inner, columns) >= FEW
        and rows * columns * min(inner, RUN) >= LARGE
        and not odd
    )


def _product(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    """(M,N) of (M,K) and (K,N), with (N,) added to each row."""
    first, *rest = _runs(len(right))
    multiply = torch.ops.mkldnn._linear_pointwise
    product: Tensor = multiply(left[:, first], _dense(right[first]), bias, "none", [], "")
    for run in rest:
        product = multiply.binary(left[:, run], product, _dense(right[run]), None, "add")
    return product


def _runs(inner: int) -> list[slice]:
    """The runs in which MKL adds up so many products."""
    run = inner // 2 if RUN < inner <= 2 * RUN else RUN
    return [slice(start, start + run) for start in range(0, inner, run)]


def _dense(right: Tensor) -> Tensor:
    """(k,N) as (N,k), as oneDNN asks for it: with gaps in memory it is slow beyond measure."""
    if right.is_contiguous() or right.t().is_contiguous():
        return right.t()
    return right.t().contiguous()


def _is_quicker() -> bool:
    """Whether MKL leaves AVX-512 alone here, which oneDNN uses."""
    return (
        torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and machine()["cpu"].startswith("AMD")
    )


@cache
def _is_alike() -> bool:
    """Whether products of oneDNN are those of torch here, to the bit: another MKL may add up in
    another order."""
    draw = torch.Generator().manual_seed(0)
    for rows, inner, columns in TRIED:
        left = torch.randn(rows, inner, generator=draw)
        right, bias = torch.randn(inner, columns, generator=draw), torch.randn(columns)
        if not torch.equal(_product(left, right, bias), torch.addmm(bias, left, right)):
            return False
    return True
