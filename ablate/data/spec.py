"""Where training data comes from, and the fingerprint of what it holds. Imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, PositiveInt, Tag, TypeAdapter
from pydantic import ValidationError as InvalidError

from ablate.errors import UserError
from ablate.files import sha256_files

FORMAT = 1
"""Raised when the same source would be prepared into other conversations or images."""


class WorldData(BaseModel):
    """Images and conversations of the micro world, drawn from a seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    world: Literal["pairs", "conversations", "test"]
    images: PositiveInt
    seed: int = 0
    canvas: ClassVar[None] = None  # drawn in one size

    @property
    def name(self) -> str:
        return self.world


class FileData(BaseModel):
    """LLaVA conversations in a JSON or JSONL file, and the folder its image paths start from.

    `canvas`: pad every image to a square and resize it to this many pixels a side. None (the
    default) takes images as they are; they must then all be of one size.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    conversations: Path
    images: Path
    canvas: PositiveInt | None = None

    @property
    def name(self) -> str:
        return self.conversations.stem


def _kind(raw: Any) -> str:
    world = "world" in raw if isinstance(raw, Mapping) else isinstance(raw, WorldData)
    return "world" if world else "files"


DataSource = Annotated[
    Annotated[WorldData, Tag("world")] | Annotated[FileData, Tag("files")], Discriminator(_kind)
]
_SOURCE: TypeAdapter[WorldData | FileData] = TypeAdapter(DataSource)


def parse(raw: Mapping[str, Any] | WorldData | FileData) -> WorldData | FileData:
    """The data source `raw` describes; a `fingerprint` beside its fields is passed over.

    Raises `UserError` naming the first wrong field.
    """
    if isinstance(raw, Mapping):
        raw = {key: value for key, value in raw.items() if key != "fingerprint"}
    try:
        return _SOURCE.validate_python(raw)
    except InvalidError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or "data"
        raise UserError(f"data source: {field}: {first['msg']} (got {first['input']!r})") from None


def fingerprint(source: Mapping[str, Any] | WorldData | FileData) -> dict[str, Any]:
    """What determines the content of a data source, as JSON: never a path, always the bytes.

    Raises `UserError` where a file or folder is missing.
    """
    source = parse(source)
    if isinstance(source, WorldData):
        from ablate.data.world.version import WORLD_VERSION

        return {**source.model_dump(), "format": FORMAT, "world_version": WORLD_VERSION}
    if not source.conversations.is_file():
        raise UserError(f"no conversations at {source.conversations}")
    if not source.images.is_dir():
        raise UserError(f"no image folder at {source.images}")
    return {
        "conversations": sha256_files([source.conversations]),
        "images": sha256_files(sorted(source.images.rglob("*")), source.images),
        "canvas": source.canvas,
        "format": FORMAT,
    }
