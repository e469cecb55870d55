"""A candidate as a graph of steps, and what makes two steps the same one.

A step's key is the sha256 of canonical typed JSON of what determines its result: its kind, the
schema version of that kind, its resolved spec, and its parents' keys. Where and how it runs
(devices, workers, paths, batch split) is never in it. Nothing here imports torch.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any

import fusion_zoo
from ablate.data.fingerprint import fingerprint
from ablate.data.spec import DataSource
from ablate.evaluate import suites
from ablate.study import Candidate, Design, Fusion, Study, encoder_spec, llm_spec

SCHEMAS = MappingProxyType({"prealign": 1, "pretrain": 1, "finetune": 1, "evaluate": 1, "bake": 1})
"""Raised by one when a kind's executor would make another result of the same spec."""


def canonical(value: Any) -> str:
    """`value` as JSON that is the same for the same value only: sorted, `1`, `1.0`, `"1"` differ.

    Raises TypeError for what JSON would change or lose (tuples aside), ValueError for NaN.
    """
    _check(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _check(value: Any) -> None:
    if type(value) is dict:
        for key, child in value.items():
            if type(key) is not str:
                raise TypeError(f"the key {key!r} is no string")
            _check(child)
    elif type(value) in {list, tuple}:
        for child in value:
            _check(child)
    elif value is not None and type(value) not in {str, int, float, bool}:
        raise TypeError(f"{value!r} has no canonical JSON")


def _identity(value: Any) -> Any:
    """`value` by content, not by place: what has a fingerprint or a checksum may move.

    A published repository is no place but a name, and stays.
    """
    if isinstance(value, dict):
        if "fingerprint" in value:
            return {"fingerprint": value["fingerprint"]}
        moves = value.get("sha256") and value.get("kind") != "published"
        places = {"ref"} if moves else set()
        return {key: _identity(child) for key, child in value.items() if key not in places}
    return [_identity(child) for child in value] if isinstance(value, list) else value


@dataclass(frozen=True, eq=False)
class Step:
    """One cached unit of work. `spec`: fully resolved JSON; `parents`: the steps it starts from."""

    kind: str
    slug: str
    spec: dict[str, Any]
    parents: Mapping[str, "Step"] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """sha256 of what determines the result, 64 hex digits."""
        identity = {
            "kind": self.kind,
            "schema": SCHEMAS[self.kind],
            "spec": _identity(self.spec),
            "parents": {role: parent.key for role, parent in self.parents.items()},
        }
        return hashlib.sha256(canonical(identity).encode()).hexdigest()

    @cached_property
    def dirname(self) -> str:
        """`<slug>-<first 12 digits of the key>`, a safe name of a folder."""
        slug = re.sub(r"[^A-Za-z0-9@+_.]+", "-", self.slug).strip("-.")[:120] or "step"
        return f"{slug}-{self.key[:12]}"

    def to_json(self) -> dict[str, Any]:
        """The step and, inside, its parents, as a worker is given them."""
        parents = {role: parent.to_json() for role, parent in self.parents.items()}
        return {"kind": self.kind, "slug": self.slug, "spec": self.spec, "parents": parents}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Step":
        """The step that `to_json` gave."""
        parents = {role: cls.from_json(parent) for role, parent in value["parents"].items()}
        return cls(value["kind"], value["slug"], value["spec"], parents)


def steps_for(candidate: Candidate, study: Study) -> list[Step]:
    """The candidate's steps, parents before children; the last is its evaluation.

    Steps of equal keys are one step, whichever candidate or study they come from.
    """
    recipe, name = candidate.recipe, "+".join(candidate.encoders)
    prealigned = {}
    if recipe.prealign is not None:
        for title in candidate.encoders:
            spec = _training(alone(candidate, title), "prealign", candidate.seed, study)
            prealigned[f"prealign:{title}"] = Step("prealign", title, spec)
    slug = f"{name}.{candidate.fusion.name}"
    spec = _training(candidate, "pretrain", candidate.seed, study)
    pretrain = Step("pretrain", slug, spec, prealigned)
    spec = _training(candidate, "finetune", candidate.seed, study)
    finetune = Step("finetune", slug, spec, {"pretrain": pretrain})
    evaluate = Step("evaluate", slug, {"suite": _suite(study.suite)}, {"finetune": finetune})
    return [*prealigned.values(), pretrain, finetune, evaluate]


def alone(design: Design, title: str) -> Design:
    """The design in which the expert of this title is pre-aligned: nothing else of it matters."""
    options = fusion_zoo.options("channel_concat")
    fusion = Fusion(name="channel_concat", grid=design.fusion.grid, options=options)
    return Design(encoders=(title,), fusion=fusion, llm=design.llm, recipe=design.recipe)


def ancestors(steps: Iterable[Step]) -> list[Step]:
    """The steps and all they start from, each key once, parents before children."""
    found: dict[str, Step] = {}

    def visit(step: Step) -> None:
        if step.key not in found:
            for parent in step.parents.values():
                visit(parent)
            found[step.key] = step

    for step in steps:
        visit(step)
    return list(found.values())


def _training(design: Design, kind: str, seed: int, study: Study) -> dict[str, Any]:
    stage = design.recipe.stages()[kind]
    return {
        "model": {
            "encoders": [encoder_spec(title).to_json() for title in design.encoders],
            "fusion": design.fusion.model_dump(mode="json"),
            "feature_norm": design.recipe.feature_norm,
            "llm": llm_spec(design.llm).to_json(),
        },
        "stage": stage.model_dump(mode="json", exclude={"data"}),
        "data": _source(study.data[stage.data]),
        "seed": seed,
    }


@cache
def _source(source: DataSource) -> dict[str, Any]:
    return {**source.model_dump(mode="json"), "fingerprint": fingerprint(source)}


@cache
def _suite(name: str) -> dict[str, Any]:
    return suites.resolve(name).identity()
