"""`ablate list`: what can be named in a study, each in a row."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from inspect import getdoc
from typing import TYPE_CHECKING, Any, Protocol

from ablate.commands.output import columns, emit_json, say
from ablate.errors import UserError
from ablate.humanize import count

if TYPE_CHECKING:
    from ablate.catalog.encoder_spec import EncoderSpec
    from ablate.catalog.llms import LlmSpec
    from ablate.parsing.validation import Fields

Row = dict[str, Any]


def encoders() -> list[Row]:
    """Every named encoder at the resolutions it is known for; any other may be given."""
    from ablate.catalog import encoders as registry

    return [_encoder(spec) for spec in registry.specs()]


def _encoder(spec: "EncoderSpec") -> Row:
    """Its FLOPs are none where a network of timm would have to be built to tell them."""
    from ablate.catalog import timm_encoders
    from ablate.cost import encoders as cost

    parameters, flops = timm_encoders.listed(spec) or (cost.parameters(spec), cost.flops(spec))
    return {
        "encoder": spec.title,
        "grid": "x".join(map(str, spec.grid)),
        "width": spec.width,
        "parameters": parameters,
        "licence": spec.licence,
        "task": spec.task,
        "source": spec.source,
        "family": spec.family,
        "flops": flops,
        "weights": dataclasses.asdict(spec.weights),
    }


def fusions() -> list[Row]:
    """Every fusion, ours and other packages'."""
    import fusion_zoo

    return _components("fusion", fusion_zoo)


def connectors() -> list[Row]:
    """Every connector, ours and other packages'."""
    return _choices("connector")


def tilings() -> list[Row]:
    """Every tiling, ours and other packages'."""
    return _choices("tiling")


def injections() -> list[Row]:
    """Every injection, ours and other packages'."""
    return _choices("injection")


def _choices(name: str) -> list[Row]:
    """What may be chosen on an axis."""
    from ablate.catalog.axes import AXES

    axis = AXES[name]
    plain = {name: axis.default["name"], "options": "-", "description": axis.without}
    return [plain] * bool(axis.without) + _components(name, axis.registry)


def objectives() -> list[Row]:
    """Every training objective, ours and other packages'."""
    from ablate.catalog.objectives import OBJECTIVES

    return _components("objective", OBJECTIVES)


def adapters() -> list[Row]:
    """Every adapter of a part, ours and other packages'."""
    from ablate.catalog.adapters import ADAPTERS

    return _components("adapter", ADAPTERS)


def annotators() -> list[Row]:
    """Every annotator, ours and other packages'; `hf:MODEL` is any model of transformers."""
    from ablate.catalog.annotators import ANNOTATORS

    return _components("annotator", ANNOTATORS)


def trackers() -> list[Row]:
    """Every tracker, ours and other packages'."""
    from ablate.catalog.trackers import TRACKERS

    return _components("tracker", TRACKERS)


class _Components(Protocol):
    def names(self) -> list[str]: ...
    def options(self, name: str) -> dict[str, Any]: ...
    def describe(self, name: str) -> str: ...


def _components(noun: str, components: _Components) -> list[Row]:
    return [
        {
            noun: name,
            "options": _settings(components.options(name)),
            "description": components.describe(name),
        }
        for name in components.names()
    ]


def _settings(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in options.items()) or "-"


def kinds() -> list[Row]:
    """Every kind of step, ours and other packages'; those that train may be stages of a recipe."""
    from ablate.catalog import step_kinds

    return [
        {
            "kind": kind.name,
            "title": kind.title,
            "stage": "of each expert" if kind.per_expert else "yes" if kind.trains else "no",
            "executor": kind.executor,
            "schema": kind.schema,
        }
        for kind in map(step_kinds.find, step_kinds.names())
    ]


def llms() -> list[Row]:
    """Every language model with a name; a study may also give a folder, a repository, a file."""
    from ablate.catalog import llms

    return [_llm(spec) for spec in llms.SPECS]


def _llm(spec: "LlmSpec") -> Row:
    from ablate.files import read_json

    config = spec.config or read_json(spec.folder / "config.json")
    return {
        "llm": spec.name,
        "width": spec.width,
        "layers": spec.layers,
        "heads": config["num_attention_heads"],
        "vocabulary": config["vocab_size"],
        "context": spec.context,
        "parameters": spec.parameters,
        "chat": spec.template_family or "-",
        "licence": spec.licence or "-",
        "source": spec.source,
        "weights": {"kind": spec.kind, "ref": spec.ref, "revision": spec.revision},
        "template": spec.template,
    }


def metrics() -> list[Row]:
    """Every metric that has a reader, or that a suite counts by as lmms-eval gives it."""
    from ablate.catalog import suites
    from ablate.catalog.metric_readers import READERS
    from ablate.catalog.own_benchmarks import METRICS

    tasks = [task for name in suites.names() for task in suites.resolve(name).tasks]
    used: dict[str, list[str]] = {name: [] for name in READERS.names()}
    for task in tasks:
        titles = used.setdefault(task.metric.partition(",")[0], [])
        titles += [task.title or task.task] * (task.title not in titles)
    of_studies = [
        {"metric": word, "description": metric.says, "tasks": "a study's own `benchmarks`"}
        for word, metric in METRICS.items()
    ]
    return of_studies + [
        {
            "metric": name,
            "description": READERS.describe(name)
            if name in READERS
            else "as lmms-eval scores each answer",
            "tasks": ", ".join(titles) or "-",
        }
        for name, titles in sorted(used.items())
    ]


def pages() -> list[Row]:
    """Every page that a report may have, beside one a candidate."""
    from ablate.reports.pages import PAGES, names

    return [
        {"page": path, "description": PAGES.describe(name), "from": PAGES.entry(name).module}
        for path, name in sorted(names().items())
    ]


def proxies() -> list[Row]:
    """Every proxy, ours and other packages': what `ablate proxy` shows and a `filter` takes."""
    from ablate import proxies

    return [
        {
            "proxy": name,
            "title": proxies.find(name).title,
            "known": "before training" if proxies.find(name).of_features else "after training",
            "description": proxies.PROXIES.describe(name),
        }
        for name in proxies.names()
    ]


def strategies() -> list[Row]:
    """Every search strategy, ours and other packages', with what a study may say of it."""
    from ablate import strategies

    by_name = {name: strategies.find(name) for name in strategies.names()}
    return [
        {
            "strategy": name,
            "fields": ", ".join(_fields(strategy)),
            "description": (getdoc(strategy) or "").partition("\n")[0],
            "example": {"kind": name, **strategy.example},
        }
        for name, strategy in by_name.items()
    ]


def _fields(model: "type[Fields]") -> Iterator[str]:
    """A strategy's own fields; of those that may be left out also the default."""
    for name, field in model.model_fields.items():
        if name != "kind":
            default = field.get_default()
            yield name if field.is_required() else f"{name}={json.dumps(default, default=str)}"


def studies() -> list[Row]:
    """Every study that comes with the project."""
    from ablate.config.study import load_study, study_names

    rows = []
    for name in study_names():
        study = load_study(name)
        rows.append({"study": name, "rounds": study.rounds, "question": study.question})
    return rows


def suites() -> list[Row]:
    """Every suite and its tasks."""
    from ablate.catalog import suites

    resolved = [suites.resolve(name) for name in suites.names()]
    return [
        {
            "suite": suite.name,
            "tasks": ", ".join(task.title or task.task for task in suite.tasks),
            "title": suite.title,
        }
        for suite in resolved
    ]


def launchers() -> list[Row]:
    """Every launcher, ours and other packages': what `--backend` takes."""
    from ablate.launch.registry import every

    return [
        {
            "launcher": launcher.name,
            "options": f"infra.{launcher.name}" if launcher.Options else "-",
            "description": (launcher.__doc__ or "").partition("\n")[0],
        }
        for launcher in every()
    ]


CATALOGS: dict[str, Callable[[], list[Row]]] = {
    "adapters": adapters,
    "annotators": annotators,
    "connectors": connectors,
    "encoders": encoders,
    "fusions": fusions,
    "injections": injections,
    "kinds": kinds,
    "launchers": launchers,
    "llms": llms,
    "metrics": metrics,
    "objectives": objectives,
    "pages": pages,
    "proxies": proxies,
    "strategies": strategies,
    "studies": studies,
    "suites": suites,
    "tilings": tilings,
    "trackers": trackers,
}
DETAILS = {"family", "flops", "weights", "template", "example"}
"""What only `--json` shows; of encoders the width of their features, too, and of language models
the vocabulary, unless a word is looked for."""


def matching(what: str, word: str) -> list[Row]:
    """Rows of one of `CATALOGS` in which a word stands; of encoders also those of timm, of language
    models the one in a file `gguf:FILE`."""
    from ablate.catalog import encoders as registry
    from ablate.catalog import gguf
    from ablate.catalog import llms as language_models

    if what == "llms" and word.startswith(gguf.PREFIX):
        return [_llm(language_models.resolve(word))]
    if what == "encoders":
        return [_encoder(spec) for spec in registry.matching(word)]
    return [
        row for row in CATALOGS[what]() if word.lower() in " ".join(map(str, row.values())).lower()
    ]


def show(what: str, as_json: bool, match: str = "") -> None:
    """Print one of `CATALOGS`, or of it what a word stands in."""
    rows = matching(what, match) if match else CATALOGS[what]()
    if as_json:
        emit_json(rows)
        return
    if match and not rows:
        raise UserError(f"none of the {what} has '{match}' in it; `ablate list {what}` shows them")
    wide = {"encoders": {"width"}, "llms": set() if match else {"vocabulary"}}
    details = DETAILS | wide.get(what, set())
    shown = [{key: value for key, value in row.items() if key not in details} for row in rows]
    for row in shown:
        if "parameters" in row:
            row["parameters"] = count(row["parameters"])
    heads = list(shown[0]) if shown else [what]
    say(columns([head.upper() for head in heads], [list(row.values()) for row in shown]))
    if what == "llms" and not match:
        say("\nany GGUF file is one, `gguf:FILE`: `ablate list llms --match gguf:FILE` reads it")
    if what == "encoders" and not match:
        from ablate.catalog import timm_encoders

        known = len(timm_encoders.names())
        say(f"\n{known} more are timm's: `ablate list encoders --match WORD`")
