"""From an encoder's spec to the encoder, with its weights."""

from contextlib import nullcontext
from pathlib import Path

from ablate.catalog import hub_encoders
from ablate.catalog import weights as hub
from ablate.catalog.encoder_families import FAMILIES
from ablate.catalog.encoder_spec import EncoderSpec, Weights
from ablate.catalog.micro_encoders import WEIGHTS
from ablate.encoders.base import Encoder
from ablate.encoders.tensors import load_module, seeded, skip_init
from ablate.errors import UserError, nearest


def family_class(family: str) -> type[Encoder]:
    """The class of a family: ours, or one from the entry points `ablate.encoder_families`."""
    loaded: type[Encoder] = FAMILIES.load(family)
    return loaded


def build_encoder(spec: EncoderSpec, *, load_weights: bool = True) -> Encoder:
    """The encoder of `spec`, in float32, with its weights or (load_weights=False) random ones.

    Random weights depend on the spec's `init_seed` alone. Raises UserError if the weights are not
    there, or not those the spec was made for.
    """
    family = family_class(spec.family)
    load_weights = load_weights and spec.weights.kind != "none"
    whole = load_weights and not family.fresh
    with seeded(spec.init_seed), skip_init() if whole else nullcontext():
        encoder = family(spec)
    if load_weights:
        _fill(encoder, spec.title, spec.weights)
    return encoder


def _fill(encoder: Encoder, title: str, weights: Weights) -> None:
    match weights.kind:
        case "shipped":
            path = WEIGHTS / weights.ref
            if not path.exists():
                raise UserError(
                    f"encoder '{title}': no weights at {path}; `ablate bake` makes them"
                )
            load_module(encoder, path, weights.sha256)
        case "published":
            source = (weights.ref, weights.file, weights.revision)
            path = hub.find_weights(f"encoder '{title}'", *source)
            encoder.load_published(path, weights.sha256)
        case "folder":
            path = Path(weights.ref) / weights.file
            if not path.is_file():
                raise UserError(f"encoder '{title}': no weights at {path}; they are safetensors")
            if hub_encoders.checksum(path.parent) != weights.sha256:
                raise UserError(f"encoder '{title}': the weights in {path.parent} have changed")
            encoder.load_published(path)
        case kind:
            close = nearest(kind, ("folder", "none", "published", "shipped"))
            raise UserError(f"encoder '{title}': unknown kind of weights '{kind}'{close}")
