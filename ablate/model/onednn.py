"""Linear layers by oneDNN, on processors where torch's own run at half the speed.

torch multiplies float32 matrices by MKL, whose kernels for AVX-512 run on Intel's processors alone.
oneDNN, which comes with torch and computes its convolutions, has them for AMD's, too.
"""

import torch
from torch import Tensor, nn

from ablate.store.record import machine

LARGE = 2**24
"""Multiplications from which on oneDNN is quicker, though it makes a kernel for each new shape."""


class OneDnnLinear(nn.Linear):
    """A linear layer that computes by oneDNN what is large, on the processor, in float32, and
    without gradients; anything else as torch does. The same to float32's rounding."""

    def forward(self, input: Tensor) -> Tensor:
        """(*,in_features) -> (*,out_features)."""
        large = input.numel() * self.out_features >= LARGE and not torch.is_grad_enabled()
        if not (large and input.device.type == "cpu" and input.dtype == torch.float32):
            return super().forward(input)
        made: Tensor = torch.ops.mkldnn._linear_pointwise(
            input, self.weight, self.bias, "none", [], ""
        )
        return made


def use_onednn(model: nn.Module) -> None:
    """Have the linear layers of `model` be `OneDnnLinear`, where that is quicker here."""
    avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    if avx512 and "AMD" in machine()["cpu"] and torch.backends.mkldnn.is_available():
        for layer in model.modules():
            if type(layer) is nn.Linear:  # no other kind, which may compute otherwise
                layer.__class__ = OneDnnLinear
