"""A study: what is compared, how it is trained and scored. Loaded from YAML and checked whole.

Every mistake is found before anything is launched and named with its file, line, field, value and
the nearest valid one. Nothing here imports torch.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    Strict,
)

from ablate.catalog import hub_encoders, llms, published, suites
from ablate.catalog.data_sources import DataSource, FileData, Files, MixData, Name, fields
from ablate.catalog.own_benchmarks import OwnBenchmark
from ablate.config.infra import Infra
from ablate.config.naming import study_id
from ablate.config.references import Reference
from ablate.design import Design, checked, require_distinct
from ablate.errors import UserError, nearest
from ablate.files import resolve_path
from ablate.parsing.tree import Located, assign, load, parse
from ablate.parsing.validation import Fields, Seed, error_location, known, validated
from ablate.strategies import Context, Explore, MoreSeeds, Strategy, blamed, propose

STUDIES_DIR = (Path(__file__).parents[1] / "sweeps").resolve()
"""The studies that ship with us: a link to `sweeps/` in a checkout, a folder in a wheel."""


def _source(value: Any) -> Any:
    """Names the nearest field; the rest is checked by the source's own model."""
    return known(value, fields(value))


AUTO = "auto"


def _seeds(value: Any) -> Any:
    """`auto` starts with one seed."""
    return (0,) if value == AUTO else value


Placed = TypeVar("Placed", bound=Files)
Source = Annotated[DataSource, BeforeValidator(_source)]


class Written(Fields):
    """What a study's YAML holds. `published`: the table of `reports/published.json` it repeats.

    `benchmarks`: its own, by name, beside those of the `suite` or in place of one.
    `references`: closed or finished models that are shown beside its candidates.
    `seeds`: those of every candidate, or `auto`: one, and more for those whose decision is open.
    """

    title: str
    question: str
    base: Design
    data: Annotated[dict[str, Source], Strict(False)]
    suite: str | None = None
    benchmarks: Annotated[dict[Name, OwnBenchmark], Strict(False)] = Field(default={})
    seeds: Annotated[
        tuple[Seed, ...], BeforeValidator(_seeds), Strict(False), Field(min_length=1)
    ] = (0,)
    explore: Explore
    published: str | None = None
    references: Annotated[tuple[Reference, ...], Strict(False)] = ()
    infra: Infra = Infra()


class Study(Written):
    """A checked study.

    `id`: what its report, drivers and decisions are filed under (see `ablate.config.naming`).
    `adds_seeds`: whether candidates whose decision is open get more than its `seeds`.
    """

    name: str
    id: str
    adds_seeds: bool = False

    @property
    def strategy(self) -> Strategy:
        """What proposes its candidates."""
        if not self.adds_seeds or self.explore.looks:
            return self.explore
        return MoreSeeds(kind=self.explore.kind, of=self.explore)

    @property
    def designs(self) -> tuple[Design, ...]:
        """The designs of its first round, which hangs on no score."""
        return tuple(trial.design for trial in propose(self.explore, self.base, ()).values())

    @property
    def asks(self) -> suites.Suite:
        """All that a candidate is scored on."""
        return suites.with_own(self.suite, tuple(self.benchmarks.items()))

    @property
    def shelf(self) -> tuple[str, ...]:
        """Every encoder that a candidate may have."""
        with blamed(self.explore.kind, "say which encoders it needs"):
            return tuple(self.explore.shelf(self.base))

    @property
    def learnt_from(self) -> dict[str, DataSource]:
        """The data sources that a stage of any of its candidates names."""
        names = {stage.data for design in self.designs for stage in design.recipe.stages().values()}
        return {name: self.data[name] for name in sorted(names)}

    @property
    def rounds(self) -> int:
        """How many rounds the study has."""
        return self.explore.planned_rounds


@cache
def study_names() -> tuple[str, ...]:
    """The studies that ship with `ablate`, such as `micro/rounds`; files to extend are left out."""
    files = sorted(STUDIES_DIR.glob("*/**/*.yaml"))
    names = (file.relative_to(STUDIES_DIR).with_suffix("").as_posix() for file in files)
    return tuple(name for name in names if not name.endswith(("/base", "/data")))


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
    with blamed(written.explore.kind, "say which language models it names"):
        named = written.explore.named_llms(tree.at(["explore"]))
        places = [tree.at(["base", "llm"]), *named]
    return {llms.absolute(str(located.value), located.folder) for located in places}


def named_towers(name_or_path: str, overrides: Sequence[str] = ()) -> set[str]:
    """The encoders `hf:...` that a study names anywhere, whether they are here or not."""

    def below(value: Any) -> Iterator[str]:
        if isinstance(value, str) and value.startswith(hub_encoders.PREFIX):
            yield value
        if isinstance(value, dict | list):
            for child in value.values() if isinstance(value, dict) else value:
                yield from below(child)

    return set(below(as_written(name_or_path, overrides).plain()))


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
    identifier = study_id(name, path, STUDIES_DIR, on_disk.plain(), tree.plain())
    return name, identifier, validated(Written, tree, []), tree


def _find(given: str) -> tuple[Path, str]:
    if given in study_names():
        return STUDIES_DIR / f"{given}.yaml", given
    path = Path(given)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return path, re.sub(r"[^\w.@+-]+", "-", path.stem).strip("-.") or "study"
    raise UserError(f"no study '{given}'{nearest(given, study_names())}")


def _checked(name: str, identifier: str, written: Written, tree: Located) -> Study:
    """The study, if everything it names exists and fits together."""
    base = checked(written.base, tree.value["base"], written.data)
    benchmarks = {
        name: _asked(name, benchmark, tree) for name, benchmark in written.benchmarks.items()
    }
    with error_location(tree, ["suite"]):
        suite = written.suite and suites.absolute(written.suite, tree.at(["suite"]).folder)
        if suite:
            suites.resolve(suite)
    with error_location(tree, ["benchmarks"]):
        asked = suites.with_own(suite, tuple(benchmarks.items()))
    tasks = tuple(task.task for task in asked.tasks)
    with error_location(tree, ["seeds"]):
        require_distinct(map(str, written.seeds))
    table = None
    if written.published is not None:
        with error_location(tree, ["published"]):
            table = published.table(written.published)
    with error_location(tree, ["references"]):
        require_distinct(reference.name for reference in written.references)
    for n, reference in enumerate(written.references):
        with error_location(tree, ["references", n]):
            _check_reference(reference, asked)
    with blamed(written.explore.kind, "check its fields"):
        explore = written.explore.resolved(Context(base, tree, written.data, table, tasks))
    fields = {key: getattr(written, key) for key in Written.model_fields}
    data = {key: _placed(key, source, tree) for key, source in written.data.items()}
    changed = {"base": base, "explore": explore, "data": data}
    changed |= {"suite": suite, "benchmarks": benchmarks}
    changed["adds_seeds"] = "seeds" in tree.value and tree.value["seeds"].value == AUTO
    if changed["adds_seeds"] and not (explore.looks or type(explore).choose is Strategy.choose):
        with error_location(tree, ["seeds"]):
            raise UserError(f"'{explore.kind}' chooses for itself; list the seeds, such as [0]")
    return Study(**{**fields, **changed}, name=name, id=identifier)


def _check_reference(reference: Reference, asked: suites.Suite) -> None:
    """UserError for one that there is nothing to show of."""
    if reference.model is not None and asked.blank:
        raise UserError(f"suite {asked.name} blanks images, which lmms-eval's own models do not do")
    if reference.published is not None and not reference.scores(asked):
        raise UserError(f"{reference.words} has no number of what suite {asked.name} asks")


def _placed(name: str, source: DataSource, tree: Located) -> DataSource:
    """A source of files with its name and whole paths: relative ones start at the study."""
    if isinstance(source, MixData):
        at = ["data", name, "mix"]
        mix = {
            part: _with_whole_paths(files, tree, [*at, part]) for part, files in source.mix.items()
        }
        return source.model_copy(update={"mix": mix})
    if isinstance(source, FileData):
        return _with_whole_paths(source.model_copy(update={"name": name}), tree, ["data", name])
    return source


def _asked(name: str, benchmark: OwnBenchmark, tree: Located) -> OwnBenchmark:
    """A benchmark with whole paths."""
    return benchmark.model_copy(update=_whole_paths(benchmark, tree, ["benchmarks", name]))


def _with_whole_paths(files: Placed, tree: Located, at: Sequence[str]) -> Placed:
    """The files; what is not there is an error, unless a study can be planned without it."""
    return files.model_copy(update=_whole_paths(files, tree, at, files.rows is not None))


def _whole_paths(
    files: Files | OwnBenchmark, tree: Located, at: Sequence[str], later: bool = False
) -> dict[str, Path]:
    """Of conversations and their images; they are there, unless they may come `later`."""
    paths = {}
    for field, exists in ("conversations", Path.exists), ("images", Path.is_dir):
        if given := getattr(files, field):
            with error_location(tree, [*at, field]):
                paths[field] = resolve_path(given, tree.at([*at, field]).folder)
                if not later and not exists(paths[field]):
                    raise UserError(f"nothing at {paths[field]}")
    return paths
