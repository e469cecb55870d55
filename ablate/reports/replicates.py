"""Training runs in the store that differ in their seed alone, whichever study they were made for.

They tell training noise: how far a score moves when a candidate is trained again. A study of one
run each takes it from those of its recipe and suite.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ablate.catalog import suites
from ablate.catalog.step_kinds import EVALUATE
from ablate.files import UNREADABLE, read_checked, read_json, sha256_file
from ablate.home import Home
from ablate.reports.answers import Answers, Replicates
from ablate.store.artifacts import MANIFEST
from ablate.store.read_cache import ReadCache
from ablate.store.results import ANSWERS, rows_in
from ablate.store.steps import Part


class Trained(NamedTuple):
    """What an evaluation is of: stages and data (`recipe`), these with the model (`design`), and
    the suite, as hashes; and its key.
    """

    recipe: str
    design: str
    suite: str
    key: str


def trained(home: Path, folder: Path) -> Trained | None:
    """What the evaluation in `folder` is of; None where what it was made from is gone."""
    try:
        evaluated = read_json(folder / "spec.json")
        chain = list(_chain(home, evaluated))
    except (*UNREADABLE, KeyError, TypeError):
        return None
    stages = [
        {"kind": one["kind"], "stage": one["spec"]["stage"], "data": one["spec"]["data"]}
        for one in chain
    ]
    common = {"stages": stages, "llm": chain[0]["spec"]["model"]["llm"]}
    design = {**common, "model": chain[0]["spec"]["model"]}
    return Trained(
        _hash(common), _hash(design), _hash(evaluated["spec"]["suite"]), evaluated["key"]
    )


def _chain(home: Path, spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The specs of the trained steps behind a step, the last first; of pre-alignments one."""
    parents = spec["parents"]
    for role in sorted(parents)[:1]:
        parent = parents[role]
        found = read_json(Home(home).store / parent["kind"] / parent["dirname"] / "spec.json")
        yield found
        yield from _chain(home, found)


def _hash(value: Any) -> str:
    """A hash of the canonical JSON by content: data that moved are the same."""
    return hashlib.sha256(Part(value).text.encode()).hexdigest()


def replicates(
    home: Path, own: Collection[Path], but: Collection[str], memory: ReadCache
) -> Replicates:
    """Runs of the recipes and the suite of the evaluations `own` (folders), several a design.

    `but`: the keys of those that are counted already. What cannot be read is left out.
    """
    root = Home(home).store / EVALUATE
    every = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    known = {path: found for path in every if (found := _remembered(home, path, memory))}
    ours = [known[path] for path in own if path in known]
    wanted = {(one.recipe, one.suite) for one in ours}
    groups: dict[str, list[Path]] = {}
    for path, one in known.items():
        if (one.recipe, one.suite) in wanted and one.key not in but:
            groups.setdefault(one.design, []).append(path)
    measured = next((_measure(path) for path in own if path in known), None)
    made = {}
    for design, paths in groups.items():
        if len(paths) > 1:
            runs = [answers for path in paths if (answers := _answers(path, measured))]
            if len(runs) > 1:
                made[design] = tuple(runs)
    return made


def _remembered(home: Path, folder: Path, memory: ReadCache) -> Trained | None:
    found = memory.get(f"trained {folder.name}", folder.name, lambda: trained(home, folder))
    return Trained(*found) if found else None


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
