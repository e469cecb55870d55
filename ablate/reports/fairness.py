"""In what compared candidates differ beyond what the study varies: a linter of comparisons.

A difference that a study means to make (its arms set it, or its rounds add an expert) is no
finding; two such at once between the same candidates are. All else that can move a score is: an
`error` alone may explain a difference, a `warning` may explain part of it, a `note` is to be known.
Facts are read from a candidate's configuration, its steps' specs and their records.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd

from ablate.catalog import annotators, step_kinds
from ablate.catalog.axes import AXES
from ablate.catalog.plugins import of_spec
from ablate.design.objective import DEFAULT
from ablate.files import sha256_json
from ablate.reports.frame import framed
from ablate.reports.model import CandidateResult, StepResult, StudyResult
from ablate.reports.references import unlike

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_SEVERE: Mapping[str, Severity] = MappingProxyType(
    {
        **dict.fromkeys(("encoders", "fusion", "llm", "data", "suite", "questions"), "error"),
        **dict.fromkeys((*AXES, "outputs"), "error"),
        **dict.fromkeys(("steps", "epochs", "samples", "train"), "error"),
        **dict.fromkeys(("adapters", "objective", "start"), "error"),
        **dict.fromkeys(("parameters", "trainable parameters", "git commit"), "note"),
        **dict.fromkeys(("threads", "restarts"), "note"),
    }
)
"""By the last word of a fact; what is not here is a warning."""
MOST, NAMED = 4, 2
"""Values in a sentence; candidates named for one of them."""
LEFT_OUT = "left out"
"""What is said of a stage that a candidate does not pass."""
PLUG_IN = "plug-in "
"""What the names of facts begin with that tell of other packages' parts."""
_WEIGHTY = ("torch", "transformers", "timm", "lmms-eval")
"""Packages whose version is more than a note."""


@dataclass(frozen=True)
class Finding:
    """One difference, in a sentence with both values. `where`: among whom it was found."""

    severity: Severity
    fact: str
    where: str
    text: str


def check(study: StudyResult) -> list[Finding]:
    """The findings among all candidates that a study compares, the gravest first.

    In a search those of each round with the winner before, notes once for all rounds; else all.
    """
    varies = study.strategy.varies
    apart = [
        Finding("note", "reference", reference.name, unlike(reference))
        for reference in study.references
    ]
    if not study.strategy.goes_on:
        return apart + among(study.candidates, varies, f"{study.strategy.noun}s")
    findings = []
    for turn in (turn for turn in study.rounds if turn.candidates):
        before = study.reference(turn.candidates[0])
        group = [before, *turn.candidates] if before else turn.candidates
        here = among(group, varies, f"round {turn.number}")
        findings += [finding for finding in here if finding.severity != "note"]
    notes = among(study.candidates, varies, "all rounds")
    return _gravest_first(
        [*findings, *apart, *(finding for finding in notes if finding.severity == "note")]
    )


def among(
    candidates: Sequence[CandidateResult], varies: Iterable[str], where: str
) -> list[Finding]:
    """The findings among candidates, any two of which are compared.

    `varies`: the settings, by dotted path, that differ on purpose.
    """
    alike: dict[str, str] = {}  # what is the same of thousands is in memory once
    known = {
        candidate.name: {
            alike.setdefault(name, name): alike.setdefault(text, text)
            for name, text in facts(candidate).items()
        }
        for candidate in candidates
    }
    passed = {f"recipe.{name}" for candidate in candidates for name in _stages(candidate.config)}
    for about, name in product(known.values(), passed):
        about.setdefault(name, LEFT_OUT)
    names = dict.fromkeys(name for about in known.values() for name in about)
    meant, purposes, findings = tuple(varies), dict[str, None](), []
    for name in names:
        values = {who: about[name] for who, about in known.items() if name in about}
        if len(set(values.values())) < 2 or _follows(name, known):
            continue
        if purpose := _purpose(name, meant):
            purposes[purpose] = None
        else:
            findings.append(Finding(_severity(name), name, where, _sentence(name, values)))
    if len(purposes) > 1:
        text = (
            f"{' and '.join(map(title, purposes))} differ on purpose: between two candidates that "
            "differ in more than one of them, none is known to make the difference"
        )
        findings.append(Finding("warning", "several axes", where, text))
    return _gravest_first(findings + _uncommitted(candidates, where))


def facts(candidate: CandidateResult) -> dict[str, str]:
    """What may move a candidate's score, as words by name: its settings, then what its steps tell.

    The data of a stage has a name in the settings; what counts is its content.
    """
    names = {
        path: words for path, words in settings(candidate).items() if not path.endswith(".data")
    }
    return names | _from_steps(candidate.steps, candidate.last_stages)


def settings(candidate: CandidateResult) -> dict[str, str]:
    """A candidate's settings in words, by dotted path."""
    config = candidate.config
    by_path = {
        "encoders": " + ".join(config["encoders"]),
        "fusion": words(config["fusion"]),
        **{name: words(config.get(name, axis.default)) for name, axis in AXES.items()},
        "outputs": ", ".join(map(annotators.label, config.get("outputs", ()))) or "none",
        "llm": str(config["llm"]),
        "seeds": words(config["seeds"]),
        "start": _start(config),
    }
    stages = _stages(config)
    for name, value in config["recipe"].items():
        path = f"recipe.{name}"
        if name not in stages:
            by_path[path] = LEFT_OUT if value is None else words(value)
            continue
        by_path[path] = "done"
        fields = {"objective": DEFAULT, "adapters": None, "decay": None, **value}
        by_path |= {f"{path}.{field}": words(setting) for field, setting in fields.items()}
    return by_path


def _start(config: Mapping[str, Any]) -> str:
    """With which weights it begins: a grown one is trained longer in total than its recipe says."""
    smaller, trainings = config.get("grown_from"), 1
    if not smaller:
        return "weights as shipped"
    before = smaller
    while before:
        before, trainings = before.get("grown_from"), trainings + 1
    return f"the trained {' + '.join(smaller['encoders'])} ({trainings} trainings in a row)"


def _stages(config: Mapping[str, Any]) -> list[str]:
    """The names of the stages of a recipe: all in it that is no plain setting."""
    return [name for name, value in config["recipe"].items() if isinstance(value, Mapping)]


def title(fact: str) -> str:
    """A fact's name as it is read: `batch size of fine-tuning`."""
    words = fact.removeprefix("recipe.").split(".")
    if words[-1] in step_kinds.names():
        return _stage(words[-1])
    name = _TITLES.get(words[-1], words[-1].replace("_", " "))
    of_step = fact.startswith("recipe.") or words[-1] in _OF_STEPS
    if len(words) == 1 or not of_step:
        return name
    return f"{name} of {_stage(words[0])}"


def _stage(name: str) -> str:
    """A stage, or a kind of step, as it is read."""
    return step_kinds.find(name).title if name in step_kinds.names() else name


_OF_STEPS = ("data", "samples", "device")
_TITLES = {"train": "trained parts and rates", "llm": "language model", "encoders": "mixture"}


_FIGURES = {
    "visual_tokens": "visual tokens",
    "parameters": "parameters",
    "trainable": "trainable parameters",
}


def _from_steps(steps: Sequence[StepResult], last: Collection[StepResult]) -> dict[str, str]:
    """What the steps' specs and records tell; several values of one fact are joined.

    `last`: the last stages, which have the model as it is scored.
    """
    several: dict[str, dict[str, None]] = {}

    def tell(name: str, value: Any) -> None:
        if value is not None:
            several.setdefault(name, {})[str(value)] = None

    for step in steps:
        result = step.record.get("result") or {}
        if "data" in step.spec:
            tell(f"{step.name}.data", _digest(step.spec["data"]["fingerprint"]))
            tell(f"{step.name}.samples", result.get("samples"))
        else:
            suite = {key: value for key, value in step.spec["suite"].items() if key != "name"}
            tell("suite", f"{step.spec['suite']['name']} {_digest(suite)}")
            sizes = {task: score["n"] for task, score in (result.get("scores") or {}).items()}
            if sizes:
                content = _digest([sizes, result.get("sets")])
                tell("questions", f"{sum(sizes.values())} {content}")
        if step in last:
            for name in ("visual_tokens", "parameters", "trainable"):
                tell(_FIGURES[name], result.get(name) and f"{result[name]:,}")
        for package, version in sorted((step.record.get("versions") or {}).items()):
            tell(f"package.{package}", version)
        tell("git commit", (step.record.get("git_commit") or "")[:12] or None)
        tell(f"{step.name}.device", step.record.get("device"))
        tell("threads", step.record.get("threads"))
        for name, plug_in in of_spec(step.spec).items():
            tell(
                f"{PLUG_IN}{name}",
                f"{plug_in['package']} {plug_in['version']} ({plug_in['sha256'][:8]})",
            )
        if step.record:
            tell("machine", _machine(step.record))
        if trunk := result.get("trunk"):  # its first steps may have been done elsewhere
            tell("machine", _machine({**step.record, **trunk}))
            for package, version in sorted(trunk["versions"].items()):
                tell(f"package.{package}", version)
    joined = {name: ", ".join(sorted(values)) for name, values in several.items()}
    ended = [step for step in steps if step.record]
    restarts = sum(int(step.record.get("restarts") or 0) for step in ended)
    return joined | ({"restarts": str(restarts)} if ended else {})


def _machine(record: Mapping[str, Any]) -> str:
    """The kind of machine that computed a step."""
    machine = record.get("machine")
    if not machine:
        return "not recorded (made by an older version)"
    on_gpu = record.get("device") == "cuda" and machine.get("gpu")
    return str(on_gpu or " with ".join(filter(None, (machine["cpu"], machine.get("instructions")))))


def _purpose(name: str, meant: Sequence[str]) -> str | None:
    """The setting by which a study means to make this difference, if it does."""
    for path in meant:
        if name == path or name.startswith(f"{path}."):
            return path
        if path.startswith(f"{name}."):
            return name
    return None


def _follows(name: str, known: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a difference in the samples seen follows from one that is told already."""
    kind, _, last = name.partition(".")
    causes = [f"recipe.{kind}.{field}" for field in ("steps", "epochs", "batch_size")]
    return last == "samples" and any(
        len({about.get(cause) for about in known.values()}) > 1 for cause in causes
    )


def _severity(name: str) -> Severity:
    if name.startswith(PLUG_IN):
        return "error"
    if name.startswith("package."):
        return "warning" if name.removeprefix("package.") in _WEIGHTY else "note"
    return _SEVERE.get(name.rpartition(".")[2], "warning")


def _sentence(name: str, values: Mapping[str, str]) -> str:
    """Who has which value, the commonest last; of many numbers the least and the most."""
    common = Counter(values.values()).most_common()
    if len(common) > MOST and all(_number(value) is not None for value, _ in common):
        low, *_, high = sorted(values, key=lambda who: _number(values[who]) or 0.0)
        return f"{title(name)}: from {values[low]} in {low} to {values[high]} in {high}"
    parts = [f"{value} in {_among(values, value)}" for value, _ in reversed(common[:MOST])]
    more = f", and {len(common) - MOST} values more" if len(common) > MOST else ""
    return f"{title(name)}: {', '.join(parts)}{more}"


def _among(values: Mapping[str, str], value: str) -> str:
    who = [name for name, other in values.items() if other == value]
    return ", ".join(who) if len(who) <= NAMED else f"{len(who)} candidates"


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def words(value: Any) -> str:
    """A setting in words: `projector 0.001, llm 0.0005`, `4 x 4`, `none`."""
    if isinstance(value, Mapping):
        pairs = [f"{key} {words(child)}" for key, child in value.items() if child not in ({}, [])]
        return ", ".join(pair.removeprefix("name ") for pair in pairs)
    if isinstance(value, list | tuple):
        return " x ".join(map(words, value))
    return "none" if value is None else str(value)


def _digest(value: Any) -> str:
    return f"({sha256_json(value)[:8]})"


def _uncommitted(candidates: Sequence[CandidateResult], where: str) -> list[Finding]:
    """Code that was changed after its commit can be got back by nobody."""
    dirty = [
        candidate.name
        for candidate in candidates
        if any((step.record.get("git_commit") or "").endswith("-dirty") for step in candidate.steps)
    ]
    if not dirty:
        return []
    who = ", ".join(dirty) if len(dirty) <= NAMED else f"{len(dirty)} candidates"
    text = f"uncommitted code in {who}: its commit alone does not say what ran"
    return [Finding("warning", "uncommitted", where, text)]


def _gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def fairness(study: StudyResult) -> pd.DataFrame:
    """`check` as a table: a row a finding."""
    rows = [
        {"severity": finding.severity, "where": finding.where, "finding": finding.text}
        for finding in check(study)
    ]
    return framed(rows, ["severity", "where", "finding"])
