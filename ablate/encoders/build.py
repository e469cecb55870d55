"""From an encoder's spec to the encoder, with its weights."""

from importlib import import_module
from importlib.metadata import entry_points

import torch

from ablate.encoders.base import Encoder
from ablate.encoders.micro import WEIGHTS
from ablate.encoders.spec import EncoderSpec
from ablate.encoders.tensors import load_module
from ablate.errors import UserError, nearest

FAMILIES = {
    "clip": "ClipEncoder",
    "convnext": "ConvNextEncoder",
    "dinov2": "Dinov2Encoder",
    "eva02": "Eva02Encoder",
    "pix2struct": "Pix2StructEncoder",
    "sam": "SamEncoder",
}


def family_class(family: str) -> type[Encoder]:
    """The class of a family: ours, or one from the entry points `ablate.encoder_families`."""
    if family in FAMILIES:
        module = import_module(f"ablate.encoders.{family}")
        found: type[Encoder] = getattr(module, FAMILIES[family])
        return found
    others = {entry.name: entry for entry in entry_points(group="ablate.encoder_families")}
    if family not in others:
        raise UserError(f"unknown encoder family '{family}'{nearest(family, {*FAMILIES, *others})}")
    loaded: type[Encoder] = others[family].load()
    return loaded


def build_encoder(spec: EncoderSpec, *, load_weights: bool = True) -> Encoder:
    """The encoder of `spec`, in float32, with its weights or (load_weights=False) random ones.

    Random weights depend on the spec's `init_seed` alone. Raises UserError if the weights are not
    there, or not those the spec was made for.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.init_seed)
        encoder = family_class(spec.family)(spec)
    if load_weights and spec.weights.kind != "none":
        path = WEIGHTS / spec.weights.ref
        if not path.exists():
            raise UserError(
                f"encoder '{spec.title}': no weights at {path}; `ablate bake` makes them"
            )
        load_module(encoder, path, spec.weights.sha256)
    return encoder
