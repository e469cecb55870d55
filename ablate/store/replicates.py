"""Training runs in the store that differ in their seed alone, whichever study they were made for.

They tell training noise: how far a score moves when a candidate is trained again. Together with
what is shipped of the same recipe and suite they are the noise floor of every study of these.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ablate.catalog import suites
from ablate.catalog.noise_floors import COMPOSITE, Floors, floors, measurements
from ablate.catalog.step_kinds import EVALUATE
from ablate.files import UNREADABLE, read_checked, read_json, sha256_file
from ablate.home import Home
from ablate.stats.noise import Noise, pooled, squares_within
from ablate.store.answers import ANSWERS, Answers, Key, Replicates, repeated_sample, rows_in
from ablate.store.artifacts import MANIFEST
from ablate.store.canonical import text_of
from ablate.store.read_cache import ReadCache
from ablate.store.steps import QUESTIONS, SHARE, Step, trained_roles

Subject = tuple[str, str]
"""What training noise is of: a recipe and a suite, as hashes."""


class Trained(NamedTuple):
    """What an evaluation is of: stages, data and language model (`recipe`), these with the model
    (`design`), and what is asked (`suite`), as hashes; the seed; its key.
    """

    recipe: str
    design: str
    suite: str
    seed: int
    key: str

    @property
    def subject(self) -> Subject:
        """What its noise is of."""
        return self.recipe, self.suite


def trained_by(step: Step, memory: ReadCache | None = None) -> Trained:
    """What an evaluation is of, made or not; `memory` keeps it for `trained`."""

    def read() -> Trained:
        chain = []
        before = step
        while parents := before.trained_parents:
            before = parents[min(parents)]
            chain.append((before.kind, before.spec))
        return _trained(chain, step.spec, step.key)

    cached = _cached(step.dirname, read, memory)
    return Trained(*cached) if cached else read()


def trained(
    home: Path, folder: Path, memory: ReadCache | None = None, whole: bool = False
) -> Trained | None:
    """What the evaluation in `folder` is of; None where what it was made from is gone.

    `whole`: as if all of its steps and questions were; else a part is something of its own.
    """

    def read() -> Trained | None:
        try:
            evaluated = read_json(folder / "spec.json")
            chain = [(spec["kind"], spec["spec"]) for spec in _chain(home, evaluated)]
            asked = evaluated["spec"]
            if whole:
                asked = {name: part for name, part in asked.items() if name != QUESTIONS}
                chain = [(kind, {**spec, "stage": _whole(spec["stage"])}) for kind, spec in chain]
            return _trained(chain, asked, evaluated["key"])
        except (*UNREADABLE, KeyError, TypeError, ValueError):
            return None

    cached = _cached(folder.name, read, memory)
    return Trained(*cached) if cached else None


def _cached(
    dirname: str, read: Callable[[], Trained | None], memory: ReadCache | None
) -> Sequence[Any] | None:
    """What an evaluation is of, by its folder: what such a name stands for never changes."""
    return memory.get(f"run {dirname}", dirname, read) if memory else read()


def _whole(stage: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in stage.items() if name != SHARE}


def _trained(
    chain: Sequence[tuple[str, Mapping[str, Any]]], asked: Mapping[str, Any], key: str
) -> Trained:
    """`chain`: kind and spec of the trained steps of an evaluation, the last first; `asked`: its
    own spec."""
    (_, last), *_ = chain
    model = last["model"]
    stages = ",".join(
        f'{{"data":{text_of(spec["data"])},"kind":"{kind}","stage":{text_of(spec["stage"])}}}'
        for kind, spec in chain
    )  # canonical JSON, put together of its parts
    llm = f'"llm":{text_of(model["llm"])}'
    recipe = f'{{{llm},"stages":[{stages}]}}'
    shown = f',"outputs":{text_of(last["outputs"])}' if "outputs" in last else ""
    design = f'{{{llm},"model":{text_of(model)}{shown},"stages":[{stages}]}}'
    suite = ",".join(f'"{name}":{text_of(asked[name])}' for name in sorted(asked))
    return Trained(_hash(recipe), _hash(design), _hash(f"{{{suite}}}"), last["seed"], key)


def _chain(home: Path, spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The specs of the trained steps behind a step, the last first; of pre-alignments one."""
    parents = spec["parents"]
    for role in sorted(trained_roles(parents))[:1]:
        parent = parents[role]
        parent_spec = read_json(Home(home).store / parent["kind"] / parent["dirname"] / "spec.json")
        yield parent_spec
        yield from _chain(home, parent_spec)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Repetition(NamedTuple):
    """What tells training noise of some recipes and suites: `runs` in the store, several a design,
    and what is shipped, as `floors`. `seeds` and `names`: of these runs, by design."""

    runs: Replicates
    floors: Floors
    seeds: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    names: Mapping[str, str] = MappingProxyType({})


def repetition(
    home: Path,
    of: Collection[Subject],
    but: Collection[str] = (),
    memory: ReadCache | None = None,
) -> Repetition:
    """Of these recipes and suites.

    `but`: the keys of evaluations whose noise is counted already. What cannot be read is left out.
    """
    if not of:
        return Repetition({}, {})
    root = Home(home).store / EVALUATE
    every = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    known = {path: run for path in every if (run := trained(home, path, memory))}
    groups: dict[str, list[Path]] = {}
    for path, run in known.items():
        if run.subject in of:
            groups.setdefault(run.design, []).append(path)
    several = [paths for paths in groups.values() if len(paths) > 1]
    made: dict[str, dict[Path, Answers]] = {}
    measured = None
    for paths in several:
        left = [path for path in paths if known[path].key not in but]
        measured = measured or next(filter(None, map(_measure, left)), None)
        runs = {path: answers for path in left if (answers := _answers(path, measured))}
        if len(runs) > 1:
            made[known[left[0]].design] = runs
    here = {(known[path].design, known[path].seed) for paths in several for path in paths}
    return Repetition(
        {design: tuple(runs.values()) for design, runs in made.items()},
        floors(of, here, measurements(home / "noise")),
        {design: tuple(known[path].seed for path in runs) for design, runs in made.items()},
        {design: next(iter(runs)).name.rpartition("-")[0] for design, runs in made.items()},
    )


def floor(
    evaluations: Collection[Path],
    but: Collection[str],
    questions: Sequence[Key],
    memory: ReadCache | None = None,
) -> Noise | None:
    """The noise of a run's composite, as all of a store and what is shipped have it; None where
    nobody has measured it.

    `evaluations`: folders of what is compared, on `questions`; `but`, `memory`: as in `repetition`.
    """
    home = next(iter(evaluations)).absolute().parent.parent.parent
    subjects = {made.subject for path in evaluations if (made := trained(home, path, memory))}
    repeated = repetition(home, subjects, but, memory)
    sample = repeated_sample(repeated.runs, questions)
    within = [squares_within(sample)] if sample else []
    return pooled(within, repeated.floors.get(COMPOSITE, ()))


def shipped_floor(evaluations: Collection[Path]) -> Noise | None:
    """The noise of a run's composite as it is shipped, or lies in the home's folder `noise`: what
    no other study in the store changes. None where nobody has measured it.

    `evaluations`: folders of the runs at hand, those of a part as if whole. Of designs that have
    several among them these count as they are.
    """
    home = next(iter(evaluations)).absolute().parent.parent.parent
    made = [run for path in evaluations if (run := trained(home, path, whole=True))]
    seeds: dict[str, set[int]] = {}
    for run in made:
        seeds.setdefault(run.design, set()).add(run.seed)
    here = {
        (design, seed)
        for design, seeds_of_design in seeds.items()
        if len(seeds_of_design) > 1
        for seed in seeds_of_design
    }
    measured = floors({run.subject for run in made}, here, measurements(home / "noise"))
    return pooled([], measured.get(COMPOSITE, ()))


def _measure(folder: Path) -> Any:
    """What the composite of an evaluation is the mean of; None where its record is not whole."""
    record = read_checked(folder / "record.json")
    if record is None:
        return None
    spec = read_json(folder / "spec.json")["spec"]
    return suites.measure(spec, record["result"].get("sets", {}))


def _answers(folder: Path, measured: Any) -> Answers | None:
    """The answers of an evaluation, if they are whole and scored by this measure."""
    try:
        manifest = read_checked(folder / MANIFEST)
        path = folder / ANSWERS
        whole = manifest and manifest["files"][ANSWERS]["sha256"] == sha256_file(path)
        same = whole and _measure(folder) == measured
        return Answers.of(rows_in(str(path))) if same else None
    except (*UNREADABLE, KeyError):
        return None
