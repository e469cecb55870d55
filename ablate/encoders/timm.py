"""Any vision network of timm: the map of its last layer, after its closing norm if it has one.

Shapes: B batch, C channels, H W grid.
Source: Wightman, PyTorch Image Models: `forward_intermediates` of each network. Class tokens and
registers take part inside it and are dropped at the end, as are pooling and classification heads.
Statistics of batch norms are never learnt: what a network makes of an image is its own.
"""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.base import Encoder
from ablate.encoders.networks import create_model
from ablate.encoders.published import require_sha256
from ablate.encoders.tensors import skip_init
from ablate.errors import UserError


class TimmEncoder(Encoder):
    """`architecture`: timm's name of the `model`, and further arguments of its `create_model`;
    `norm` is False where timm can give no map after the closing norm."""

    family: ClassVar[str] = "timm"

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        self._adopt(_network(spec))

    def _adopt(self, network: Any) -> None:
        """Take a network for its own, without what comes after its map."""
        layer = self.spec.layer
        self.num_blocks = len(getattr(network, "blocks", ()))
        last = [-1 if layer is None else layer - 1]
        network.prune_intermediate_layers(last, prune_norm=layer is not None, prune_head=True)
        self._entering: Tensor | None = None
        if self.spec.dense:
            network.blocks[0].register_forward_pre_hook(self._keep)
        self.model = network

    def _keep(self, block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._entering = inputs[0]

    def load_published(self, path: Path, sha256: str | None = None) -> None:
        """As timm loads it: names translated, tables of positions resampled to its own size."""
        require_sha256(path, sha256)
        options = {
            "pretrained": True,
            "pretrained_cfg_overlay": {"file": path, "custom_load": False},
        }
        del self.model  # not both in memory
        try:
            with skip_init():
                network = _network(self.spec, **options)
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            raise UserError(f"weights {path}: {' '.join(str(error).split())[:240]}") from error
        self._adopt(network)

    def features(self, pixels: Tensor) -> Tensor:
        norm = self.spec.architecture.get("norm", True)
        last: Tensor = self._run(pixels, intermediates_only=True, norm=norm)[-1]
        return last

    def states(self, pixels: Tensor, wanted: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        numbers = sorted({*wanted, len(self.model.blocks)} - {0})
        _, maps = self._run(pixels, indices=[number - 1 for number in numbers])
        by_layer = dict(zip(numbers, maps, strict=True))
        last = self.model.norm(maps[-1].movedim(1, -1)).movedim(-1, 1)
        if 0 in wanted:
            assert self._entering is not None
            rows, columns = maps[0].shape[-2:]
            tokens = self._entering[:, -rows * columns :]
            by_layer[0] = tokens.transpose(1, 2).reshape(len(tokens), -1, rows, columns)
        self._entering = None
        return last, by_layer

    def _run(self, pixels: Tensor, **how: Any) -> Any:
        """timm's `forward_intermediates` of (B,3,h,w), without a border too narrow for a patch."""
        with suppress(AssertionError):  # some networks cannot do without their activations
            self.model.set_grad_checkpointing(self.gradient_checkpointing)
        if self.spec.ragged and "dynamic_img_size" in self.spec.architecture:
            rows, columns = self.spec.patches(*pixels.shape[-2:])
            pixels = pixels[..., : rows * self.spec.patch, : columns * self.spec.patch]
        else:
            self.spec.patches(*pixels.shape[-2:])
        return self.model.forward_intermediates(pixels, **how)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()
        return self


def _network(spec: EncoderSpec, **more: Any) -> Any:
    arguments = dict(spec.architecture)
    name, _ = arguments.pop("model"), arguments.pop("norm", None)
    try:
        return create_model(name, **arguments, **more)
    except RuntimeError as error:
        if "Unknown model" in str(error) or "Invalid pretrained tag" in str(error):
            raise UserError(f"encoder '{spec.title}': the timm installed has no '{name}'") from None
        raise
