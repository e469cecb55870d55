"""A candidate as a graph of steps, and what makes two steps the same one.

A step's key is the sha256 of canonical typed JSON of what determines its result: its kind, the
schema version of that kind, its resolved spec, and its parents' keys. Where and how it runs
(devices, workers, paths, batch split) is never in it. Nothing here imports torch.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from typing import Any

import fusion_zoo
from ablate.catalog import annotators, plugins, step_kinds, suites
from ablate.catalog.axes import AXES
from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.data_sources import DataSource, WorldData
from ablate.catalog.map_encoders import drawn_by
from ablate.config.study import Study
from ablate.design import Candidate, Design, FusionConfig, check_maps, encoder_spec, llm_spec
from ablate.design.fidelity import WHOLE, Fidelity
from ablate.design.recipe import TrainingConfig
from ablate.errors import UserError
from ablate.parsing.validation import Fields
from ablate.store.canonical import Part, quoted, text_of


@dataclass(frozen=True, eq=False)
class Step:
    """One cached unit of work. `spec`: fully resolved JSON; `parents`: the steps it starts from, by
    their kinds, and of several of one kind by `kind:slug`; a smaller mixture's by `grown`.

    `stage`: what a recipe calls it, where that is not its kind. Like the slug it is in no key.
    """

    kind: str
    slug: str
    spec: dict[str, Any]
    parents: Mapping[str, "Step"] = field(default_factory=dict)
    stage: str = ""

    @property
    def name(self) -> str:
        """What it is called where it is shown: its stage, or its kind."""
        return self.stage or self.kind

    @property
    def label(self) -> str:
        """What it is, and of what."""
        return f"{self.name} {self.slug}"

    @cached_property
    def key(self) -> str:
        """sha256 of what determines the result, 64 hex digits."""
        parents = ",".join(
            [f'{quoted(role)}:"{parent.key}"' for role, parent in sorted(self.parents.items())]
        )
        spec = ",".join(
            [f"{quoted(name)}:{text_of(self.spec[name])}" for name in sorted(self.spec)]
        )
        schema = step_kinds.find(self.kind).schema
        identity = (  # the canonical JSON of all four, put together of its parts
            f'{{"kind":"{self.kind}","parents":{{{parents}}},"schema":{schema},"spec":{{{spec}}}}}'
        )
        return hashlib.sha256(identity.encode()).hexdigest()

    @property
    def trained_parents(self) -> dict[str, "Step"]:
        """The parents that trained a model: all but those that annotate what it is shown."""
        return {role: self.parents[role] for role in trained_roles(self.parents)}

    @cached_property
    def dirname(self) -> str:
        """`<slug>-<first 12 digits of the key>`, a safe name of a folder."""
        return f"{_safe(self.slug)}-{self.key[:12]}"

    @cached_property
    def former(self) -> "Step":
        """The step by the key of ablate 0.1.0, which held neither plug-ins nor the content of a
        published benchmark's set and scorers; a step that has none of them is its own."""
        parents = {role: parent.former for role, parent in self.parents.items()}
        spec = {name: part for name, part in self.spec.items() if name not in _LATER}
        if suite := spec.get("suite"):
            spec["suite"] = {name: part for name, part in suite.items() if name not in _LATER}
        same = spec == self.spec and all(
            parents[role] is parent for role, parent in self.parents.items()
        )
        return self if same else Step(self.kind, self.slug, spec, parents, self.stage)

    @property
    def share(self) -> float:
        """How much of it is done: of its stage's steps, or of its questions."""
        share: float = self.spec.get("stage", {}).get(SHARE, self.spec.get(QUESTIONS, 1.0))
        return share

    @cached_property
    def whole(self) -> "Step":
        """The same step where nothing of it is left out: of all its stage's steps, or questions."""
        spec = {name: part for name, part in self.spec.items() if name != QUESTIONS}
        if SHARE in (stage := spec.get("stage", {})):
            spec["stage"] = {name: value for name, value in stage.items() if name != SHARE}
        return self if spec == self.spec else replace(self, spec=spec)

    def to_json(self) -> dict[str, Any]:
        """The step and, inside, its parents, as a worker is given them."""
        parents = {role: parent.to_json() for role, parent in self.parents.items()}
        fields = {"kind": self.kind, "slug": self.slug, "spec": self.spec, "stage": self.stage}
        return {**fields, "parents": parents}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Step":
        """The step that `to_json` gave."""
        parents = {role: cls.from_json(parent) for role, parent in value["parents"].items()}
        return cls(value["kind"], value["slug"], value["spec"], parents, value["stage"])


def trained_roles(roles: Iterable[str]) -> list[str]:
    """Those roles of a step's parents that trained a model."""
    return [role for role in roles if not role.startswith(f"{step_kinds.ANNOTATE}:")]


GROWN = "grown"
SHARE, QUESTIONS = "share", "questions"
"""Where a step is done in part, what its stage or spec holds besides: how much of it is."""
_LATER = {"plugins", "sets", "scorers"}
"""Parts of specs that keys came to hold after ablate 0.1.0."""


class Texts:
    """Parts of designs as JSON, each made once: a thousand candidates share a few of them."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Fields, str]] = {}  # the part, too: its id stays its own
        self._parsed: dict[str, Any] = {}

    def __call__(self, part: Fields) -> str:
        if id(part) not in self._made:
            self._made[id(part)] = part, part.model_dump_json()
        return self._made[id(part)][1]

    def parsed(self, part: Fields) -> Any:
        """The same as a value, one object for all parts that say the same."""
        text = self(part)
        if text not in self._parsed:
            self._parsed[text] = json.loads(text)
        return self._parsed[text]


def steps_for(
    candidate: Candidate, study: Study, text: Callable[[Fields], str] = Fields.model_dump_json
) -> list[Step]:
    """The candidate's steps, parents before children; the last is its evaluation.

    Steps of equal keys are one step, whichever candidate or study they come from. What its fidelity
    leaves whole is the same step as without one. `text`: a part as JSON.
    """
    steps, last = _training(candidate, candidate.seed, candidate.fidelity, study, text)
    suite: dict[str, Any] = {"suite": _suite(study.asks)}
    if candidate.fidelity.questions < 1:
        suite[QUESTIONS] = candidate.fidelity.questions
    slug = _slug(candidate)
    annotated = _annotations([*candidate.speakers, *candidate.drawers], study.asks)
    steps += annotated.values()
    evaluation = Step(step_kinds.EVALUATE, slug, suite, _roles(last, slug) | annotated)
    return [*dict.fromkeys(steps), evaluation]


def _training(
    design: Design, seed: int, fidelity: Fidelity, study: Study, text: Callable[[Fields], str]
) -> tuple[list[Step], list[Step]]:
    """The design's own steps of training, and the last of them."""
    check_maps(design)
    recipe, slug = design.recipe, _slug(design)
    fusion, norm = text(design.fusion), recipe.feature_norm
    chosen = json.dumps(design.chosen)
    model = _model(design.encoders, fusion, design.llm, norm, chosen)
    shared = design.fusion.grid, design.llm, norm
    grown: dict[str, Step] = {}
    titles: Sequence[str] = design.encoders
    if smaller := design.grown_from:
        [grown[GROWN]] = _training(smaller, seed, WHOLE, study, text)[1]
        titles = titles[len(smaller.encoders) :]
    steps: list[Step] = []
    before: list[Step] = []  # what the next stage starts from
    for name, stage in recipe.stages().items():
        kind, source, words = recipe.kind(name), study.data[stage.data], text(stage)
        called, share = name if name != kind else "", fidelity.stages.get(name, 1.0)
        if step_kinds.find(kind).per_expert:
            parents = dict(zip(titles, before, strict=False))
            before = [
                _of_expert(
                    title, *shared, kind, called, words, share, source, seed, parents.get(title)
                )
                for title in titles
            ]
            steps += [
                parent
                for expert in before
                for role, parent in expert.parents.items()
                if role not in expert.trained_parents
            ]
        else:
            spec = _spec(kind, model, _stage(words, share), source, seed)
            speakers = design.speakers if stage.prompt != "plain" else []
            annotated = _annotations([*speakers, *design.drawers], source)
            if speakers:
                spec["outputs"] = _outputs(design)
            steps += annotated.values()
            before = [Step(kind, slug, spec, _roles(before, slug) | grown | annotated, called)]
            grown = {}
        steps += before
    return steps, before


def _slug(design: Design) -> str:
    words = [choice["name"] for choice in design.chosen.values()]
    return ".".join(["+".join(design.encoders), design.fusion.name, *words])


def _roles(parents: Iterable[Step], slug: str) -> dict[str, Step]:
    """The parents of a step by their roles: of another slug, they are of one expert each."""
    return {
        parent.kind if parent.slug == slug else f"{parent.kind}:{parent.slug}": parent
        for parent in parents
    }


def _annotations(
    choices: Iterable[Mapping[str, Any]], images: DataSource | suites.Suite
) -> dict[str, Step]:
    """What these annotators find in the images of data, or of a suite; by its role in what shows
    it."""
    return {
        f"{step_kinds.ANNOTATE}:{annotators.label(choice)}": _annotation(json.dumps(choice), images)
        for choice in choices
    }


def _outputs(design: Design) -> list[dict[str, Any]]:
    """How a prompt shows what each annotator says: `of` is the role of the step that has it."""
    return [
        {
            "of": f"{step_kinds.ANNOTATE}:{annotators.label(output)}",
            "annotator": annotators.annotator_of(output),
            "template": output["template"],
            "tokens": output["tokens"],
        }
        for output in design.outputs
    ]


@lru_cache(maxsize=4096)
def _annotation(annotator: str, images: DataSource | suites.Suite) -> Step:
    """One object for all candidates. `annotator`: as JSON. UserError where it does not understand
    what a suite asks about."""
    choice = json.loads(annotator)
    observer = annotators.build(choice)
    spec: dict[str, Any] = {"annotator": Part(choice), "weights": Part(observer.weights())}
    if isinstance(images, suites.Suite):
        others = [task.task for task in (*images.published, *images.own)]
        spec["suite"], name = _suite(images), images.name
    else:
        spec["data"] = _source(images)  # what a study calls its files is not of the step
        others = [] if isinstance(images, WorldData) else ["its data"]
        name = images.name if isinstance(images, WorldData) else "conversations"
    if others and observer.drawn:
        raise UserError(
            f"annotator {annotators.label(choice)} understands pages of the drawn world alone, "
            f"and {others[0]} is about others; take another annotator, such as hf:MODEL"
        )
    slug = f"{annotators.label(choice)} of {name}"
    return Step(step_kinds.ANNOTATE, slug, spec | _code_of(("annotator", choice["name"])))


def expert_design(design: Design, title: str) -> Design:
    """The design in which the expert of this title is trained alone: nothing else of it matters.

    It has the plain connector, so that designs which differ in theirs share its steps.
    """
    fusion = _fusion_of_one(design.fusion.grid)
    return Design(encoders=(title,), fusion=fusion, llm=design.llm, recipe=design.recipe)


def ancestors(steps: Iterable[Step]) -> list[Step]:
    """The steps and all they start from, each key once, parents before children."""
    by_key: dict[str, Step] = {}
    _add_ancestors(steps, by_key)
    return list(by_key.values())


def _add_ancestors(steps: Iterable[Step], by_key: dict[str, Step]) -> None:
    for step in steps:
        if step.key not in by_key:
            _add_ancestors(step.parents.values(), by_key)
            by_key[step.key] = step


@cache
def _safe(slug: str) -> str:
    return re.sub(r"[^A-Za-z0-9@+_.]+", "-", slug).strip("-.")[:120] or "step"


@lru_cache(maxsize=4096)
def _of_expert(
    title: str,
    grid: tuple[int, int],
    llm: str,
    feature_norm: str,
    kind: str,
    called: str,
    stage: str,
    share: float,
    source: DataSource,
    seed: int,
    before: Step | None,
) -> Step:
    """A stage of an expert alone, one object for all candidates: its key is made once.

    `stage`: as JSON, of which a `share` is trained; `before`: the stage it starts from, if any.
    """
    fusion = _fusion_of_one(grid).model_dump_json()
    model = _model((title,), fusion, llm, feature_norm)
    spec = _spec(kind, model, _stage(stage, share), source, seed)
    drawer = drawn_by(encoder_spec(title))
    drawn = _annotations([drawer] if drawer else [], source)
    return Step(kind, title, spec, _roles([before] if before else [], title) | drawn, called)


def _spec(kind: str, model: Part, stage: Part, source: DataSource, seed: int) -> dict[str, Any]:
    spec: dict[str, Any] = {"model": model, "stage": stage, "seed": seed}
    return {**spec, "data": _source(source), **_code(kind, model, stage)}


def _code(kind: str, model: Part, stage: Part) -> dict[str, Part]:
    """Whose code trains and is run: of other packages by content, of ours what is not as it was.

    A step of our own components as they first were has neither, as before there was a choice.
    """
    parts = [("encoder family", encoder["family"]) for encoder in model["encoders"]]
    parts += [("fusion", model["fusion"]["name"]), ("step kind", kind)]
    parts += [(axis, model[axis]["name"]) for axis in AXES if axis in model]
    if "objective" in stage:
        parts.append(("objective", stage["objective"]["name"]))
    parts += [("adapter", adapter["name"]) for adapter in stage.get("adapters", {}).values()]
    return _code_of(*parts)


@cache
def _code_of(*parts: tuple[str, str]) -> dict[str, Part]:
    code: dict[str, Mapping[str, Any]] = {
        "plugins": plugins.described(parts),
        "revisions": plugins.revisions(parts),
    }
    return {name: Part(values) for name, values in code.items() if values}


@lru_cache(maxsize=4096)
def _model(
    titles: tuple[str, ...], fusion: str, llm: str, feature_norm: str, chosen: str = "{}"
) -> Part:
    """`fusion`, and what is `chosen` on axes: as JSON."""
    return Part(
        encoders=[encoder_spec(title).to_json() for title in titles],
        fusion=json.loads(fusion),
        feature_norm=feature_norm,
        llm=llm_spec(llm).to_json(),
        **json.loads(chosen),
    )


@lru_cache(maxsize=4096)
def _stage(stage: str, share: float) -> Part:
    """How a stage trains, given as JSON; its kind, its place and its data are told elsewhere."""
    known = TrainingConfig.model_fields
    fields = {name: value for name, value in json.loads(stage).items() if name in known}
    return Part(fields | ({SHARE: share} if share < 1 else {}))


@cache
def _fusion_of_one(grid: tuple[int, int]) -> FusionConfig:
    options = fusion_zoo.options("channel_concat")
    return FusionConfig(name="channel_concat", grid=grid, options=options)


@cache
def _source(source: DataSource) -> Part:
    return Part(source.model_dump(mode="json"), fingerprint=fingerprint(source))


@cache
def _suite(suite: suites.Suite) -> Part:
    return Part(suite.identity())
