"""The kind of step of docs/extending.md, as a package of another author with its entry point."""

import re
import tomllib
from pathlib import Path

from ablate.catalog import step_kinds

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
MIXED = (
    "{data: conversations, steps: 2, batch_size: 8, "
    "train: {projector: 1.0e-3, fusion: 1.0e-3, llm: 1.0e-3}}"
)
OVERRIDES = [
    "base.recipe.prealign=null",
    "base.recipe.pretrain.steps=2",
    "base.recipe.finetune.steps=2",
    f"base.recipe.halfway={MIXED}",
    "explore={kind: rounds, rounds: 1, pool: [pix2struct-micro@128]}",
    "seeds=[0]",
]
"""Of micro/smoke: three stages of two steps each, the last one of the kind from outside."""


def code(language: str) -> str:
    """What docs/extending.md shows of a step kind in this language, the first block of it."""
    section = PAGE.read_text(encoding="utf-8").partition("## A step kind")[2]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def forget() -> None:
    """As a new process does, look for the kinds of other packages anew."""
    step_kinds._others.cache_clear()
    step_kinds._load.cache_clear()


def install(site: Path, source: str | None = None) -> None:
    """Put the package and its dist-info into `site`; `source`: of its module, if another."""
    info, package = site / "my_package-0.1.dist-info", site / "my_package"
    for folder in info, package:
        folder.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 0.1\n")
    groups = tomllib.loads(code("toml"))["project"]["entry-points"]
    lines = [f"{name} = {value}" for name, value in groups[step_kinds.GROUP].items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{step_kinds.GROUP}]", *lines]))
    (package / "__init__.py").write_text("")
    (package / "halfway.py").write_text(code("python") if source is None else source)
