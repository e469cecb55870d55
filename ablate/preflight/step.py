"""What a study asks of machine, packages and plug-ins, tried out before its first step trains.

The trial is a step of its own, `preflight`: it runs in the very environment of the other steps, as
the first job of a drive, and once it has passed it lies in the store under a key of all it saw:
packages, plug-ins, the study. `ablate.preflight.checks` does it. Nothing here imports torch.
"""

import re
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, distributions, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ablate.catalog import step_kinds
from ablate.catalog.axes import AXES
from ablate.config.study import Study
from ablate.design.objective import DEFAULT
from ablate.errors import BrokenError, UserError
from ablate.files import UNREADABLE, read_json, sha256_json, sizes_and_times, write_json
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.canonical import canonical
from ablate.store.results import NoResults
from ablate.store.steps import Step, ancestors, steps_for

GROUPS = (
    *("fusion_zoo", "ablate.encoders", "ablate.encoder_families", "ablate.metrics"),
    *("ablate.objectives", "ablate.adapters", "ablate.proxies", "ablate.step_kinds"),
    *("ablate.annotators", "ablate.trackers"),
    *(axis.registry.group for axis in AXES.values()),
)
"""The entry points by which packages of others take part in a study."""
LASTS = 24 * 3600.0
"""Seconds after which what has passed is tried again: disks, weights and accounts change."""
PROBLEMS = "problems.json"


@dataclass(frozen=True)
class Problem:
    """Something that would end the study: what is wrong and where, and what to do about it.

    `broken`: the machine or its packages are at fault, not what the user gave.
    """

    what: str
    remedy: str
    broken: bool = False

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


def preflight_step(study: Study) -> Step:
    """The step that tries out what any step of the study does.

    Its spec: the models, each with the shortest `max_length` it is given and its parts that any
    stage trains whole, the data they learn from, by which objectives, the suite, the annotators,
    the kinds of the steps, the trackers that they have, vLLM's command where it generates answers,
    and the environment of this process.
    """
    models: dict[str, dict[str, Any]] = {}
    data: dict[str, Any] = {}
    objectives: dict[str, Any] = {}
    evaluations: dict[str, Any] = {}
    speaking: dict[str, Any] = {}
    kinds: dict[str, None] = {}
    for step in ancestors(_steps(study)):
        kinds[step.kind] = None
        if step.kind == step_kinds.ANNOTATE:
            choice = step.spec["annotator"]
            speaking.setdefault(choice.text, choice)
            continue
        if not step_kinds.find(step.kind).trains:
            evaluations = step.spec["suite"]
            continue
        model, longest = step.spec["model"], step.spec["stage"]["max_length"]
        new = {"name": step.slug, "model": model, "room": longest, "trained": []}
        known = models.setdefault(model.text, new)
        known["room"] = min(known["room"], longest)
        stage = step.spec["stage"]
        whole = stage["train"].keys() - stage.get("adapters", {}).keys()
        beside = {"injection"} if "projector" in whole else set()
        known["trained"] = sorted({*known["trained"], *whole, *beside})
        objective = step.spec["stage"].get("objective", dict(DEFAULT))
        objectives.setdefault(canonical(objective), objective)
        data.setdefault(step.spec["data"].text, step.spec["data"])
    evaluation = study.infra.of(step_kinds.EVALUATE)
    spec = {
        "models": list(models.values()),
        "data": list(data.values()),
        "objectives": list(objectives.values()),
        "suite": evaluations,
        **({"annotators": list(speaking.values())} if speaking else {}),
        **({"references": apart} if (apart := _references(study)) else {}),
        "kinds": [*kinds, *([step_kinds.REFERENCE] if _references(study) else [])],
        **({"trackers": trackers} if (trackers := study.infra.trackers()) else {}),
        **({"vllm": evaluation.vllm} if evaluation.generate == "vllm" else {}),
        "environment": sha256_json(_environment(study)),
    }
    return Step(step_kinds.PREFLIGHT, study.name, spec)


def _references(study: Study) -> list[str]:
    """The models of lmms-eval that are asked beside candidates."""
    return sorted({reference.model for reference in study.references if reference.model})


def passed(store: Store, step: Step) -> bool:
    """Whether the step has passed, not too long ago; what is older is removed."""
    record = store.record(step)
    if record is None:
        return False
    if time.time() - record["ended"] > LASTS:
        shutil.rmtree(store.folder(step), ignore_errors=True)
        return False
    return True


def write_problems(work: Path, problems: Iterable[Problem]) -> None:
    """Leave the problems in the step's work folder, for the driver to tell them."""
    write_json(work / PROBLEMS, [asdict(problem) for problem in problems])


def refusal(store: Store, step: Step, message: str) -> tuple[list[Problem], UserError]:
    """What a preflight that failed has found, and the error that ends the drive.

    Forgets the failure: the next drive tries again.
    """
    try:
        problems = [Problem(**problem) for problem in read_json(store.work(step) / PROBLEMS)]
    except UNREADABLE:  # it did not come so far
        problems = [Problem(message, f"`ablate logs {step.key[:12]}` shows more", broken=True)]
    store.forgive(step)
    shutil.rmtree(store.work(step), ignore_errors=True)
    more = f" (and {len(problems) - 1} more, above)" if len(problems) > 1 else ""
    summary = f"before anything was trained: {problems[0]}{more}"
    error = BrokenError if any(problem.broken for problem in problems) else UserError
    return problems, error(summary)


def _steps(study: Study) -> Sequence[Step]:
    """The last steps of all candidates of one seed; as if the first of each round won."""
    one_seed = study.model_copy(update={"seeds": study.seeds[:1]})
    turns = rounds_so_far(one_seed, NoResults())
    return [steps_for(candidate, one_seed)[-1] for turn in turns for candidate in turn.candidates]


def _environment(study: Study) -> Mapping[str, Any]:
    """What else decides whether the study's steps can run, as JSON."""
    installed = entry_points()
    entries = {entry for group in GROUPS for entry in installed.select(group=group)}
    tops = {entry.module.partition(".")[0] for entry in entries} | {"ablate", "fusion_zoo"}
    return {
        "python": [sys.version, sys.executable],
        "packages": sorted(map(_release, distributions())),
        "path": [path for path in sys.path if path],
        "plugins": sorted(str(entry) for entry in entries),
        "sources": [sizes_and_times(_sources(top)) for top in sorted(tops)],
        "home": str(Path.home()),
        "infra": study.infra.model_dump(mode="json"),
    }


def _release(distribution: Distribution) -> str:
    """Its name and version, from the lines that say so: a parser would read its README, too."""
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    fields = dict(re.findall(r"^(Name|Version): *(.*?) *$", text.partition("\n\n")[0], re.M))
    return f"{fields.get('Name')} {fields.get('Version')}"


def _sources(package: str) -> list[Path]:
    """The Python files of a package, or of a module."""
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if spec and not folders and spec.origin:
        return [Path(spec.origin)]
    return sorted(path for folder in folders for path in Path(folder).rglob("*.py"))
