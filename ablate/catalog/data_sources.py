"""Where training data comes from: drawn, one source of files, or a mixture of such sources.

Imports no torch, and reads none of the data.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    TypeAdapter,
)
from pydantic import ValidationError as InvalidError

from ablate.errors import UserError
from ablate.parsing.validation import known

MEAN_COLOUR = (122, 116, 104)
"""int(255 * mean) of what CLIP was trained on, and OpenCLIP: what LLaVA and Eagle pad with."""

Name = Annotated[str, Field(pattern=r"^\w[\w.@+-]*$")]
Byte = Annotated[int, Field(ge=0, le=255)]


class WorldData(BaseModel):
    """Images and conversations of the micro world, drawn from a seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    world: Literal["pairs", "conversations", "preferences", "test"]
    images: PositiveInt
    seed: int = 0
    size: ClassVar[tuple[int, int]] = (128, 128)
    canvas: ClassVar[None] = None  # drawn in one size
    padding: ClassVar[tuple[int, int, int]] = MEAN_COLOUR

    @property
    def name(self) -> str:
        return self.world

    @property
    def paired(self) -> bool:
        """Whether each question has a wrong answer beside its right one."""
        return self.world == "preferences"


class Files(BaseModel):
    """LLaVA conversations in a file or folder (`ablate.data.readers`) and the images they name.

    `images`: the folder that image paths start from; None for embedded images, or none at all.
    `rows`: about how many conversations there are (within 5 %); a study whose sources all say so
    can be planned without the data. `weight`: the share of the rows that is taken, such as 0.1;
    above 1 they repeat. `max_bad`: bad rows that may be passed over, a count or, below 1, a share;
    one more is an error. An image found unreadable in training is one too: the next sample stands
    in for it. `origin`: where it is from, in words, or as the name of a dataset on the hub that
    holds the conversations under their own name, and may hold the images packed as `<folder>.zip`:
    that is what `ablate fetch` gets. `licence` is for the reader.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    conversations: Path
    images: Path | None = None
    rows: PositiveInt | None = None
    weight: PositiveFloat = 1.0
    max_bad: NonNegativeFloat = 0
    origin: str = ""
    licence: str = ""

    def allowed(self, rows: int) -> int:
        """How many of so many rows may be bad."""
        return int(self.max_bad if self.max_bad >= 1 else self.max_bad * rows)

    def absent(self) -> list[Path]:
        """Which of its two paths are not there."""
        paths = [] if self.conversations.exists() else [self.conversations]
        return paths if self.images is None or self.images.is_dir() else [*paths, self.images]


def _known(value: Any) -> Any:
    return known(value, Files.model_fields)


class _Pictures(BaseModel):
    """How pictures of unlike sizes become one batch, and the seed that picks a share of the rows.

    `canvas`: pad every image to a square and resize it to this many pixels a side. None (the
    default) takes images as they are; they must then all be of one size. `padding`: the colour
    around them, red, green and blue in 0-255; [0, 0, 0] is black. The default is what LLaVA and
    Eagle pad with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    canvas: PositiveInt | None = None
    padding: tuple[Byte, Byte, Byte] = MEAN_COLOUR
    seed: NonNegativeInt = 0


class FileData(Files, _Pictures):
    """One source of files. `name`: what a study calls it (it puts that there itself)."""

    name: str = ""

    @property
    def parts(self) -> dict[str, Files]:
        """The one source, under its name, or its file's."""
        return {self.name or self.conversations.stem: self}


class MixData(_Pictures):
    """Sources of files by name, in one shuffled order. `weight` multiplies that of each."""

    mix: Annotated[dict[Name, Annotated[Files, BeforeValidator(_known)]], Field(min_length=1)]
    weight: PositiveFloat = 1.0

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def parts(self) -> dict[str, Files]:
        """The sources as they are taken, in the order of their names."""
        return {
            name: files.model_copy(update={"weight": files.weight * self.weight})
            for name, files in sorted(self.mix.items())
        }


def _kind(raw: Any) -> str:
    if isinstance(raw, Mapping):
        return next((kind for kind in ("world", "mix") if kind in raw), "files")
    return "world" if isinstance(raw, WorldData) else "mix" if isinstance(raw, MixData) else "files"


DataSource = Annotated[
    Annotated[WorldData, Tag("world")]
    | Annotated[MixData, Tag("mix")]
    | Annotated[FileData, Tag("files")],
    Discriminator(_kind),
]
_SOURCE: TypeAdapter[WorldData | MixData | FileData] = TypeAdapter(DataSource)
_MODELS: Mapping[str, type[BaseModel]] = {"world": WorldData, "mix": MixData, "files": FileData}


def fields(raw: Any) -> Collection[str]:
    """The fields that a source of this kind may have."""
    return _MODELS[_kind(raw)].model_fields


def parse(raw: Mapping[str, Any] | DataSource) -> DataSource:
    """The data source `raw` describes; a `fingerprint` beside its fields is passed over.

    Raises `UserError` naming the first wrong field.
    """
    if isinstance(raw, Mapping):
        raw = {key: value for key, value in raw.items() if key != "fingerprint"}
    try:
        return _SOURCE.validate_python(raw)
    except InvalidError as error:
        first = error.errors()[0]
        path = [*first["loc"][1:], *filter(None, [first.get("ctx", {}).get("key")])]
        field = ".".join(map(str, path)) or "data"
        raise UserError(f"data source: {field}: {first['msg']} (got {first['input']!r})") from None


def rows(source: DataSource) -> int | None:
    """About how many conversations are taken in an epoch, as declared; None where it is not said.

    A world draws exactly one conversation an image.
    """
    if isinstance(source, WorldData):
        return source.images
    counts = [round(files.rows * files.weight) for files in source.parts.values() if files.rows]
    return sum(counts) if len(counts) == len(source.parts) else None


def missing(source: DataSource) -> dict[str, Files]:
    """The sources in it that are not on this machine, or not as a whole, by name."""
    parts = {} if isinstance(source, WorldData) else source.parts
    return {name: files for name, files in parts.items() if files.absent()}


def require(sources: Iterable[DataSource]) -> None:
    """Raise one `UserError` that lists all that is missing of the sources, with its rows."""
    absent = {name: files for source in sources for name, files in missing(source).items()}
    if absent:
        lines = [
            f"{name}{f' ({files.rows:,} rows)' if files.rows else ''}: "
            f"nothing at {' and '.join(map(str, files.absent()))}"
            for name, files in absent.items()
        ]
        rows = sum(files.rows or 0 for files in absent.values())
        total = f", {rows:,} rows in all" if len(lines) > 1 and rows else ""
        known = any(files.origin for files in absent.values())
        remedy = "; `ablate fetch STUDY` gets it, or says where it is from" if known else ""
        raise UserError(f"data is missing{total}: {'; '.join(lines)}{remedy}")
