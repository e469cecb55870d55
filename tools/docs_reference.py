"""Pages of reference, from what is referred to: the parser, the models of a study, docstrings."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from inspect import cleandoc
from typing import Any

import typer
from pydantic import BaseModel

from ablate import strategies
from ablate.catalog import launchers
from ablate.catalog.data_sources import FileData, Files, MixData, WorldData
from ablate.catalog.own_benchmarks import OwnBenchmark
from ablate.cli import app
from ablate.config import launcher_options
from ablate.config.infra import Infra
from ablate.config.references import Reference
from ablate.config.study import Written
from ablate.design import Design, FusionConfig
from ablate.design.recipe import Recipe, StageConfig
from ablate.parsing.validation import Fields

Schema = Mapping[str, Any]

TITLES: Mapping[type[BaseModel], str] = {
    Written: "A study",
    Design: "base",
    FusionConfig: "base.fusion",
    Recipe: "base.recipe",
    StageConfig: "base.recipe.STAGE",
    FileData: "data.NAME, of files",
    MixData: "data.NAME, a mixture",
    Files: "data.NAME.mix.PART",
    WorldData: "data.NAME, drawn",
    OwnBenchmark: "benchmarks.NAME",
    Reference: "references.ITEM",
    Infra: "infra",
}
"""What the fields of each model of a study stand below; a model without fails the build."""

INNER = {"grown_from", "adapters"}
"""Fields of a model that are in no YAML: a search's, and what is written beside a rate."""


def commands() -> str:
    """Every command: what it does, examples, its words."""
    group: Any = typer.main.get_command(app)
    lines = ["# Commands", "", f"{group.help} {group.epilog}", ""]
    with group.make_context("ablate", [], resilient_parsing=True) as above:
        for name, command in group.commands.items():
            with command.make_context(name, [], parent=above, resilient_parsing=True) as context:
                usage = " ".join(command.collect_usage_pieces(context))
                records = [param.get_help_record(context) for param in command.get_params(context)]
            lines += [f"## ablate {name}", "", f"    ablate {name} {usage}", ""]
            lines += [*help_lines(command.help), "| word | |", "|---|---|"]
            lines += [f"| `{words}` | {text} |" for words, text in filter(None, records)]
            lines.append("")
    return "\n".join(lines)


def help_lines(text: str) -> Iterator[str]:
    """The help of a command as Markdown: the lines that it keeps as they are become code."""
    for paragraph in text.split("\n\n"):
        kept = paragraph.startswith("\b")
        first, *rest = paragraph.removeprefix("\b\n").splitlines()
        yield from [first, "", *(f"  {line}" for line in rest)] if kept else [first, *rest]
        yield ""


def study() -> str:
    """Every field that a study's YAML may have."""
    titled = {model.__name__ for model in TITLES}
    if strange := Written.model_json_schema()["$defs"].keys() - titled:
        raise KeyError(f"a title is missing for {', '.join(strange)}")
    sections = {title: model for model, title in TITLES.items()}
    sections |= {f"explore, kind: {name}": strategies.find(name) for name in strategies.names()}
    for name in launcher_options.with_options():
        sections[f"infra.{name}"] = launchers.load(name).Options
    head = "# A study's YAML\n\n`extends` names the study, or the file, whose fields it changes.\n"
    return "\n".join([head, *(line for section in sections.items() for line in fields(*section))])


def fields(title: str, model: type[BaseModel]) -> Iterator[str]:
    """A section of the fields of a model."""
    schema = model.model_json_schema()
    models = schema.get("$defs", {})
    if "properties" not in schema:  # it holds itself
        schema = models[model.__name__]
    yield from [f"## {title}", "", "\n\n".join(docstrings(model)), ""]
    yield from ["| field | what it may be | default |", "|---|---|---|"]
    for name, field in schema["properties"].items():
        if name in INNER:
            continue
        says = "default" in field and "$ref" not in field
        default = f"`{json.dumps(field['default'])}`" if says else ""
        yield f"| `{name}` | {kind(field, models)} | {default} |"
    if isinstance(more := schema.get("additionalProperties"), dict):
        yield f"| any other name | {kind(more, models)} | |"
    yield ""


def docstrings(model: type[BaseModel]) -> Iterator[str]:
    """What a model says of its fields, and the models that it has some of them from."""
    for base in model.__mro__:
        if issubclass(base, BaseModel) and base not in (BaseModel, Fields, strategies.Strategy):
            yield cleandoc(base.__dict__.get("__doc__") or "")


def kind(field: Schema, models: Mapping[str, Schema]) -> str:
    """What a field may be, in words."""
    match field:
        case {"$ref": str(path)}:
            name = path.rpartition("/")[2]
            for model, title in TITLES.items():
                if model.__name__ == name:
                    return f"[{title}](#{anchor(title)})"
            return "fields " + ", ".join(f"`{inner}`" for inner in models[name]["properties"])
        case {"enum": choices}:
            return " or ".join(f"`{choice}`" for choice in choices)
        case {"anyOf": choices} | {"oneOf": choices}:
            return " or ".join(kind(choice, models) for choice in choices)
        case {"prefixItems": items}:
            return f"a list of {len(items)}: {kind(items[0], models)}"
        case {"items": items}:
            return f"a list: {kind(items, models)}"
        case {"patternProperties": named}:
            return "by name: " + " or ".join(kind(value, models) for value in named.values())
        case {"additionalProperties": dict(value)}:
            return f"by name: {kind(value, models)}"
    words = {"integer": "a whole number", "number": "a number", "string": "a word"}
    words |= {"boolean": "`true` or `false`", "null": "`null`", "object": "a word, or options"}
    limits = {"exclusiveMinimum": "above", "minimum": "from", "exclusiveMaximum": "below"}
    limits |= {"maximum": "to"}
    bounds = [f"{limit} {field[key]}" for key, limit in limits.items() if key in field]
    name = "path" if field.get("format") == "path" else field.get("type", "")
    return " ".join([words.get(name, name or "see its kinds below"), *bounds])


def anchor(title: str) -> str:
    """The name that a heading has in links."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


def api() -> str:
    """The functions for programs."""
    return "# ablate.api\n\n::: ablate.api\n    options: {show_root_heading: false}\n"


def fusion_zoo() -> str:
    """The registries and what is registered there."""
    head = "# fusion_zoo\n\n::: fusion_zoo\n    options: {show_root_heading: false}\n"
    rooms = (f"::: fusion_zoo.{room}\n" for room in ("connectors", "tilings", "injections"))
    return "\n".join([head, *rooms])


PAGES: Mapping[str, Callable[[], str]] = {
    "reference/commands.md": commands,
    "reference/study.md": study,
    "reference/api.md": api,
    "reference/fusion_zoo.md": fusion_zoo,
}
"""By its path in the site, what writes the page."""
