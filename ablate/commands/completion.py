"""What a shell offers when someone presses Tab: names that go on from what is typed so far.

`ablate --install-completion` sets it up for bash, zsh and fish. Nothing here imports torch, reads a
record or says an error: where nothing is known, nothing is offered.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from ablate.errors import UserError
from ablate.home import Home


def studies(incomplete: str) -> list[str]:
    """Studies that come with the project, YAML files and folders."""
    from ablate.config.study import study_names

    return [*_begun(study_names(), incomplete), *_files(incomplete)]


def compared(incomplete: str) -> list[str]:
    """What `ablate compare` takes: a study, or a word for one of its candidates."""
    return [*_begun(("base", "best"), incomplete), *studies(incomplete)]


def steps(incomplete: str) -> list[str]:
    """Steps that have a log, by kind and name."""
    from ablate.files import home

    with contextlib.suppress(OSError):
        named = (entry.name.replace("-", "/", 1) for entry in os.scandir(Home(home()).logs))
        return _begun(sorted(named), incomplete)
    return []


def weights(incomplete: str) -> list[str]:
    """What `ablate bake` can make."""
    from ablate.catalog.bake_targets import TARGETS

    return _begun(TARGETS, incomplete)


def changes(incomplete: str) -> list[str]:
    """Of `--set`: encoders, fusions, language models and suites where the field takes one."""
    field, equals, typed = incomplete.partition("=")
    if not equals:
        return _begun([f"{name}=" for name in FIELDS], incomplete)
    opened, comma, last = typed.rpartition(",") if "," in typed else typed.rpartition("[")
    known: list[str] = []
    with contextlib.suppress(UserError):
        known = _named(field)
    return [f"{field}={opened}{comma}{name}" for name in known if name.startswith(last.strip())]


def backends(incomplete: str) -> list[str]:
    """Launchers."""
    from ablate.catalog import launchers

    return _begun(launchers.names(), incomplete)


FIELDS = (
    *("base.encoders", "base.fusion.name", "base.connector", "base.tiling", "base.injection"),
    *("base.llm", "explore.pool", "seeds", "suite"),
)
"""Fields of a study that are often changed."""


def _named(field: str) -> list[str]:
    """What can be named in a field."""
    if field in ("base.encoders", "explore.pool"):
        from ablate.catalog import encoders

        return [spec.title for spec in encoders.specs()]
    if field == "base.fusion.name":
        import fusion_zoo

        return list(fusion_zoo.names())
    if (axis := field.removeprefix("base.")) in ("connector", "tiling", "injection"):
        from ablate.catalog.axes import AXES

        return AXES[axis].names()
    if field == "base.llm":
        from ablate.catalog import llms

        return [spec.name for spec in llms.SPECS]
    if field == "suite":
        from ablate.catalog import suites

        return list(suites.names())
    return []


def schemas(incomplete: str) -> list[str]:
    """Commands whose JSON has a schema."""
    from ablate.commands.schemas import SCHEMAS

    return _begun(SCHEMAS, incomplete)


def _begun(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _files(incomplete: str) -> list[str]:
    """YAML files, and folders that may hold some, that the path typed so far begins."""
    head, slash, _ = incomplete.rpartition("/")
    folder = Path(head + slash or ".").expanduser()
    names = []
    with contextlib.suppress(OSError):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            name = f"{head}{slash}{entry.name}"
            shown = not entry.name.startswith(".") and name.startswith(incomplete)
            if shown and entry.name.endswith((".yaml", ".yml")):
                names.append(name)
            elif shown and entry.is_dir():
                names.append(f"{name}/")
    return names
