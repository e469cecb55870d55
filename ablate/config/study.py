"""A study: what is compared, how it is trained and scored. Loaded from YAML and checked whole.

Every mistake is found before anything is launched and named with its file, line, field, value and
the nearest valid one. Nothing here imports torch.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PositiveInt,
    Strict,
)

from ablate.catalog import llms, published, suites
from ablate.catalog.data_sources import DataSource, FileData, Files, MixData, fields
from ablate.config.infra import Infra
from ablate.config.naming import study_id
from ablate.design import Design, Names, checked, encoder_spec, require_distinct
from ablate.errors import UserError, nearest
from ablate.files import resolve_path
from ablate.parsing.tree import Located, assign, load, parse
from ablate.parsing.validation import Fields, Seed, error_location, known, validated

STUDIES_DIR = (Path(__file__).parents[1] / "sweeps").resolve()
"""The studies that ship with us: a link to `sweeps/` in a checkout, a folder in a wheel."""


def _source(value: Any) -> Any:
    """Names the nearest field; the rest is checked by the source's own model."""
    return known(value, fields(value))


Placed = TypeVar("Placed", bound=Files)
Source = Annotated[DataSource, BeforeValidator(_source)]


class Rounds(Fields):
    """Greedy growth: round 1 is the base, each further round adds the best expert of the pool.

    `published`: the row of the published table that the winner of each round is held against.
    """

    kind: Literal["rounds"]
    pool: Names
    rounds: PositiveInt
    published: Annotated[tuple[str, ...], Strict(False)] = ()


class Arm(Fields):
    """One variant of the base: fields by dotted path, such as `fusion.name`, and their values.

    `published`: the row of the published table that it repeats.
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    published: str | None = None
    set: dict[str, Any] = Field(default={})


class Arms(Fields):
    """Variants of the base side by side, in one round. `axis` says in a word what they vary."""

    kind: Literal["arms"]
    axis: str
    arms: Annotated[tuple[Arm, ...], Strict(False), Field(min_length=1)]


class Written(Fields):
    """What a study's YAML holds. `published`: the table of `reports/published.json` it repeats."""

    title: str
    question: str
    base: Design
    data: Annotated[dict[str, Source], Strict(False)]
    suite: str
    seeds: Annotated[tuple[Seed, ...], Strict(False), Field(min_length=1)] = (0,)
    explore: Annotated[Rounds | Arms, Discriminator("kind")]
    published: str | None = None
    infra: Infra = Infra()


class Study(Written):
    """A checked study. `designs`: the design of each arm, in the order of `explore.arms`.

    `id`: what its report, drivers and decisions are filed under (see `ablate.config.naming`).
    """

    name: str
    id: str
    designs: tuple[Design, ...] = ()

    @property
    def learnt_from(self) -> dict[str, DataSource]:
        """The data sources that a stage of any of its candidates names."""
        designs = self.designs or (self.base,)
        names = {stage.data for one in designs for stage in one.recipe.stages().values()}
        return {name: self.data[name] for name in sorted(names)}

    @property
    def rounds(self) -> int:
        """How many rounds the study has; arms are one round."""
        return self.explore.rounds if isinstance(self.explore, Rounds) else 1


def study_names() -> list[str]:
    """The studies that ship with `ablate`, such as `micro/rounds`; files to extend are left out."""
    files = sorted(STUDIES_DIR.glob("*/**/*.yaml"))
    names = (file.relative_to(STUDIES_DIR).with_suffix("").as_posix() for file in files)
    return [name for name in names if not name.endswith(("/base", "/data"))]


def load_study(name_or_path: str, overrides: Sequence[str] = ()) -> Study:
    """The study of this name or in this YAML file, with `a.b=c` overrides applied on top.

    Raises UserError at the first mistake, naming file, line and field.
    """
    return _checked(*_read(name_or_path, overrides))


def as_written(name_or_path: str, overrides: Sequence[str] = ()) -> Located:
    """The fields of a study as they are written, each with its place."""
    return _read(name_or_path, overrides)[-1]


def named_llms(name_or_path: str, overrides: Sequence[str] = ()) -> set[str]:
    """The language models that a study names, whether they are here or not."""
    *_, written, tree = _read(name_or_path, overrides)
    places = [tree.at(["base", "llm"])]
    if isinstance(written.explore, Arms):
        arms = (arm.value.get("set") for arm in tree.at(["explore", "arms"]).value)
        places += [arm.value["llm"] for arm in arms if arm and "llm" in arm.value]
    return {llms.place(str(place.value), place.folder) for place in places}


def _read(name_or_path: str, overrides: Sequence[str]) -> tuple[str, str, Written, Located]:
    """A study's name and id, what is written in it (its fields checked one by one), and where."""
    path, name = _find(name_or_path)
    tree = on_disk = load(path, STUDIES_DIR)
    for override in overrides:
        key, equals, text = override.partition("=")
        where = f"--set {override}"
        if not equals:
            raise UserError(f"{where}: write it as key=value, such as --set base.llm=llama-micro")
        tree = assign(tree, key, parse(text, where), where)
    own = study_id(name, path, STUDIES_DIR, on_disk.plain(), tree.plain())
    return name, own, validated(Written, tree, []), tree


def _find(given: str) -> tuple[Path, str]:
    if given in study_names():
        return STUDIES_DIR / f"{given}.yaml", given
    path = Path(given)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return path, re.sub(r"[^\w.@+-]+", "-", path.stem).strip("-.") or "study"
    raise UserError(f"no study '{given}'{nearest(given, study_names())}")


def _checked(name: str, own: str, written: Written, tree: Located) -> Study:
    """The study, if everything it names exists and fits together."""
    base_tree = tree.value["base"]
    base = checked(written.base, base_tree, written.data)
    explore: Rounds | Arms = written.explore
    designs: list[Design] = []
    with error_location(tree, ["suite"]):
        suite = suites.place(written.suite, tree.at(["suite"]).folder)
        suites.resolve(suite)
    with error_location(tree, ["seeds"]):
        require_distinct(map(str, written.seeds))
    if isinstance(explore, Rounds):
        explore = _rounds(explore, base, tree)
    else:
        with error_location(tree, ["explore", "arms"]):
            require_distinct(arm.name for arm in explore.arms)
        arms = tree.at(["explore", "arms"]).value
        designs = [_arm(arm, base_tree, written.data) for arm in arms]
    _check_published(written, tree)
    fields = {key: getattr(written, key) for key in Written.model_fields}
    data = {key: _placed(key, source, tree) for key, source in written.data.items()}
    changed = {"base": base, "explore": explore, "data": data, "suite": suite}
    return Study(**{**fields, **changed}, name=name, id=own, designs=tuple(designs))


def _check_published(written: Written, tree: Located) -> None:
    """Every published row that the study names is one of the published table that it names."""
    table = None
    if written.published is not None:
        with error_location(tree, ["published"]):
            table = published.table(written.published)
    for place, row in _published_rows(written.explore):
        with error_location(tree, ["explore", *place]):
            if table is None:
                raise UserError(f"'{row}' is a row, but the study names no `published` table")
            table.row(row)


def _published_rows(explore: Rounds | Arms) -> Iterator[tuple[list[str | int], str]]:
    """The published rows a study names, and where in `explore` it does."""
    if isinstance(explore, Rounds):
        for n, row in enumerate(explore.published):
            yield ["published", n], row
    else:
        for n, arm in enumerate(explore.arms):
            if arm.published is not None:
                yield ["arms", n, "published"], arm.published


def _rounds(explore: Rounds, base: Design, tree: Located) -> Rounds:
    """The rounds with the full titles of their pool."""
    pool = []
    for n, encoder in enumerate(explore.pool):
        with error_location(tree, ["explore", "pool", n]):
            pool.append(encoder_spec(encoder).title)
            if pool[-1] in base.encoders:
                raise UserError(f"'{pool[-1]}' is in the base already")
    with error_location(tree, ["explore", "pool"]):
        require_distinct(pool)
    with error_location(tree, ["explore", "rounds"]):
        if explore.rounds > len(pool) + 1:
            raise UserError(
                f"{explore.rounds} rounds need {explore.rounds - 1} experts, the pool has "
                f"{len(pool)}: at most {len(pool) + 1} rounds"
            )
    return explore.model_copy(update={"pool": tuple(pool)})


def _arm(arm: Located, base: Located, data: Mapping[str, DataSource]) -> Design:
    """The base with the arm's fields in place; errors point into the arm."""
    fields = arm.value["set"].value if "set" in arm.value else {}
    for path, value in fields.items():
        base = assign(base, path, value, value.where)
    return checked(validated(Design, base, ["base"]), base, data)


def _placed(name: str, source: DataSource, tree: Located) -> DataSource:
    """A source of files with its name and whole paths: relative ones start at the study."""
    if isinstance(source, MixData):
        at = ["data", name, "mix"]
        mix = {part: _found(files, tree, [*at, part]) for part, files in source.mix.items()}
        return source.model_copy(update={"mix": mix})
    if isinstance(source, FileData):
        return _found(source.model_copy(update={"name": name}), tree, ["data", name])
    return source


def _found(files: Placed, tree: Located, at: Sequence[str]) -> Placed:
    """The files; what is not there is an error, unless a study can be planned without it."""
    paths = {}
    for field, exists in ("conversations", Path.exists), ("images", Path.is_dir):
        if given := getattr(files, field):
            with error_location(tree, [*at, field]):
                paths[field] = resolve_path(given, tree.at([*at, field]).folder)
                if files.rows is None and not exists(paths[field]):
                    raise UserError(f"nothing at {paths[field]}")
    return files.model_copy(update=paths)
