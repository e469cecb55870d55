"""Vision towers of transformers by their configuration: the map of the last layer, as it is given.

Shapes: B batch, N tokens, C channels, H W grid.
Source: each tower's own class and its `last_hidden_state`; what stands before the patches' tokens
(class tokens, registers) takes part in it and is dropped, as are pooling heads.
"""

import inspect
from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, MODEL_MAPPING

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.base import Encoder
from ablate.encoders.tensors import skip_init
from ablate.errors import UserError

AFTER = {
    "clip_vision_model": ("post_layernorm",),
    "mlcd_vision_model": ("post_layernorm",),
    "convnext": ("layernorm",),
    "convnextv2": ("layernorm",),
}
"""What a tower does to a class token, or to its map's mean, alone."""

WITHOUT = {"vision_use_head": False, "use_head": False, "use_mask_token": False}
"""Switches of configurations for what has no part in the map."""


class HubEncoder(Encoder):
    """`architecture`: the configuration of transformers, with its `model_type`."""

    family: ClassVar[str] = "hf"

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        values = dict(spec.architecture)
        config = CONFIG_MAPPING[values.pop("model_type")]
        known = inspect.signature(config).parameters
        self.config = config(**values | {key: off for key, off in WITHOUT.items() if key in known})
        self.num_blocks = int(values.get("num_hidden_layers", 0))
        self._adopt(MODEL_MAPPING[config](self.config))

    def _adopt(self, tower: Any) -> None:
        """Take a tower for its own, without what comes after its map."""
        tower.pooler = nn.Identity()
        for name in AFTER.get(self.config.model_type, ()):
            setattr(tower, name, nn.Identity())
        if getattr(getattr(tower, "embeddings", None), "mask_token", None) is not None:
            tower.embeddings.mask_token = None
        self.resizes = "interpolate_pos_encoding" in inspect.signature(tower.forward).parameters
        self._checkpoints = False
        self.model = tower

    def load_published(self, path: Path, sha256: str | None = None) -> None:
        """As transformers loads it, names translated; of the file whatever is not the tower's is
        left out."""
        tower = type(self.model)
        del self.model  # not both in memory
        try:
            with skip_init():
                model, info = tower.from_pretrained(
                    path.parent,
                    config=self.config,
                    dtype=torch.float32,
                    local_files_only=True,
                    use_safetensors=True,
                    output_loading_info=True,
                )
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(f"weights {path}: {' '.join(str(error).split())[:240]}") from error
        self._adopt(model)
        missing = {f"model.{name}" for name in info["missing_keys"]} & self.state_dict().keys()
        for name in sorted(missing):
            raise UserError(f"weights {path}: nothing in it fills the model's tensor '{name}'")

    def features(self, pixels: Tensor) -> Tensor:
        if self.spec.layer is not None:
            return self.states(pixels, ())[0]
        return self._map(self._run(pixels).last_hidden_state, pixels)

    def states(self, pixels: Tensor, wanted: Collection[int]) -> tuple[Tensor, dict[int, Tensor]]:
        outputs = self._run(pixels, output_hidden_states=True)
        layer = self.spec.layer
        last = outputs.last_hidden_state if layer is None else outputs.hidden_states[layer]
        return self._map(last, pixels), {
            number: self._map(outputs.hidden_states[number], pixels) for number in wanted
        }

    def _run(self, pixels: Tensor, **how: Any) -> Any:
        if self.gradient_checkpointing != self._checkpoints:
            self._checkpoints = self.gradient_checkpointing
            if self._checkpoints:
                self.model.gradient_checkpointing_enable({"use_reentrant": False})
            else:
                self.model.gradient_checkpointing_disable()
        self.spec.patches(*pixels.shape[-2:])
        more = {"interpolate_pos_encoding": True} if self.resizes else {}
        return self.model(pixels, **more, **how)

    def _map(self, tokens: Tensor, pixels: Tensor) -> Tensor:
        """(B,prefix+N,C), or a map already, -> (B,C,H,W)."""
        if tokens.ndim == 4:
            return tokens
        rows, columns = self.spec.patches(*pixels.shape[-2:])
        patches = tokens[:, tokens.shape[1] - rows * columns :]
        return patches.transpose(1, 2).reshape(len(tokens), -1, rows, columns)
