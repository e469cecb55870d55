"""Vision towers in transformers' format as encoders: `hf:ORGANISATION/NAME@RES`, `hf:/FOLDER@RES`.

What a study must know is read from `config.json` and `preprocessor_config.json` in the folder, or
where `ablate fetch` or the hub's own tools put the repository; of a model that has a tower beside
other things, as CLIP has, from its `vision_config`. Weights are safetensors, and no code comes with
them: the architecture is one that the installed transformers has. Imports no torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from ablate.catalog import weights as hub
from ablate.catalog.encoder_spec import EncoderSpec, Weights
from ablate.catalog.hub_config import read_config, whole_number
from ablate.errors import UserError, nearest
from ablate.files import sha256_files

PREFIX = "hf:"
WEIGHTS = ("model.safetensors.index.json", "model.safetensors")

TYPES: Mapping[str, Mapping[str, Any]] = {
    "aimv2_vision_model": {"hidden_size": 1024, "patch_size": 14, "image_size": 224},
    "beit": {"hidden_size": 768, "patch_size": 16, "image_size": 224},
    "clip_vision_model": {"hidden_size": 768, "patch_size": 32, "image_size": 224},
    "convnext": {"hidden_sizes": [96, 192, 384, 768], "image_size": 224},
    "convnextv2": {"hidden_sizes": [96, 192, 384, 768], "image_size": 224},
    "dinov2": {"hidden_size": 768, "patch_size": 14, "image_size": 224},
    "dinov2_with_registers": {"hidden_size": 768, "patch_size": 16, "image_size": 224},
    "dinov3_vit": {"hidden_size": 384, "patch_size": 16, "image_size": 224},
    "ijepa": {"hidden_size": 768, "patch_size": 16, "image_size": 224},
    "internvl_vision": {"hidden_size": 1024, "patch_size": [14, 14], "image_size": [448, 448]},
    "mlcd_vision_model": {"hidden_size": 1664, "patch_size": 14, "image_size": 336},
    "radio": {"hidden_size": 1280, "patch_size": 16, "image_size": 224},
    "resnet": {"hidden_sizes": [256, 512, 1024, 2048], "image_size": 224},
    "siglip_vision_model": {"hidden_size": 768, "patch_size": 16, "image_size": 224},
    "tipsv2_vision_model": {"hidden_size": 768, "patch_size": 14, "image_size": 448},
    "vit": {"hidden_size": 768, "patch_size": 16, "image_size": 224},
}
"""The towers there are, by transformers' `model_type`, and what their configurations leave out
where it is this. One of `hidden_sizes` halves its map in each of its stages, 32 pixels in all."""

FIXED = ("aimv2_vision_model",)
"""Towers whose positions transformers does not interpolate."""

LAYERS = {"mlcd_vision_model": 48, "radio": 32, "aimv2_vision_model": 24, "internvl_vision": 24}
"""Blocks of a transformer whose configuration does not say; 12 of any other."""


def resolve(title: str) -> EncoderSpec:
    """The encoder `hf:ID@RES`, `hf:ID` for the size it was trained at.

    Raises UserError if its configuration is not here, is of no tower there is, or does not fit.
    """
    name, at, size = title.removeprefix(PREFIX).rpartition("@")
    name, size = (name, size) if at else (size, "")
    if at and not size.isdecimal():
        raise UserError(f"encoder '{title}': a resolution is a number, as in '{PREFIX}{name}@384'")
    path, config = _config(title, name)
    kind = config["model_type"]
    values = {**TYPES[kind], **config}
    stages = "hidden_sizes" in values
    patch = 32 if stages else whole_number(path, values, "patch_size")
    native = whole_number(path, values, "image_size")
    mean, std = _norm(title, name, kind)
    spec = EncoderSpec(
        name=PREFIX + name,
        family="hf",
        resolution=native,
        patch=patch,
        width=whole_number(path, values, "hidden_sizes" if stages else "hidden_size", at=-1),
        mean=mean,
        std=std,
        architecture=_architecture(values),
        weights=_weights(name),
        ragged=bool(native % patch),
        task=kind,
        source=f"transformers, {name}",
    )
    if not size or int(size) == native:
        return spec
    if kind in FIXED and not values.get("is_native"):
        raise UserError(f"encoder '{title}': its positions are for {native} pixels alone")
    return spec.at(int(size))


def repository(title: str) -> str:
    """The repository that an encoder `hf:...` names; empty of a folder and of any other encoder."""
    name = title.removeprefix(PREFIX)
    name = (name.rpartition("@")[0] or name) if title.startswith(PREFIX) else ""
    return name if hub.REPOSITORY.fullmatch(name) else ""


def _find(name: str, file: str) -> Path | None:
    """A file of the folder or the repository, where it lies on this machine."""
    if hub.REPOSITORY.fullmatch(name):
        return hub.find(name, file)
    return path if (path := Path(name).expanduser() / file).is_file() else None


def _config(title: str, name: str) -> tuple[Path, dict[str, Any]]:
    """The configuration of the vision tower, and its file."""
    path = _find(name, "config.json")
    if path is None:
        remedy = "; `ablate fetch STUDY` gets it" * bool(hub.REPOSITORY.fullmatch(name))
        raise UserError(
            f"encoder '{title}': no config.json of '{name}', as a folder (its whole path) or as a "
            f"repository in {hub.weights_home()} or the hub's cache{remedy}"
        )
    config = read_config(path)
    kind = str(config.get("model_type", ""))
    if isinstance(config.get("vision_config"), dict):
        config = config["vision_config"]
        kind = str(config.get("model_type") or f"{kind}_vision_model")
    if kind not in TYPES:
        raise UserError(f"encoder '{title}': {path} is of no vision tower '{kind}'"
                        f"{nearest(kind, TYPES)}")  # fmt: skip
    return path, {**config, "model_type": kind}


def _norm(title: str, name: str, kind: str) -> tuple[Any, Any]:
    """Mean and deviation of its pixels."""
    if kind == "radio":  # it does that itself
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    path = _find(name, "preprocessor_config.json")
    values = read_config(path) if path else {}
    mean, std = values.get("image_mean"), values.get("image_std")
    if not (_of_three_numbers(mean) and _of_three_numbers(std)):
        raise UserError(
            f"encoder '{title}': no image_mean and image_std of three numbers in "
            f"{path or f'preprocessor_config.json of {name}, which is not here'}"
        )
    return tuple(mean), tuple(std)


def _of_three_numbers(value: Any) -> TypeGuard[list[float]]:
    numbers = value if isinstance(value, list) else []
    return len(numbers) == 3 and all(type(number) in (int, float) for number in numbers)


def _architecture(values: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration makes the network, and not its file or what is beside it."""
    beside = {"architectures", "torch_dtype", "dtype", "transformers_version", "_name_or_path"}
    beside |= {"auto_map", "id2label", "label2id", "initializer_range", "initializer_factor"}
    kept = {key: value for key, value in values.items() if key not in beside}
    if "hidden_sizes" not in kept:
        kept.setdefault("num_hidden_layers", LAYERS.get(kept["model_type"], 12))
    return kept


def _weights(name: str) -> Weights:
    """Published ones by their repository, those in a folder by their content."""
    if hub.REPOSITORY.fullmatch(name):
        file = next(
            (file_name for file_name in WEIGHTS if hub.find_whole(name, file_name)), WEIGHTS[-1]
        )
        return Weights("published", name, file=file)
    folder = Path(name).expanduser()
    file = next((file_name for file_name in WEIGHTS if (folder / file_name).is_file()), WEIGHTS[-1])
    return Weights("folder", str(folder.absolute()), checksum(folder), file=file)


def checksum(folder: Path) -> str | None:
    """One sha256 for all weights in a folder; None without any."""
    files = sorted(folder.glob("*.safetensors"))
    return sha256_files(files, folder) if files else None
