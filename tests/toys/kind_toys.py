"""The kind of step of docs/extending/stage.md, as a package of another author."""

from pathlib import Path

from packages import install_package, shown, shown_offers

from ablate.catalog import step_kinds

PAGE = "stage"
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


def forget() -> None:
    """As a new process does, look for the kinds of other packages anew."""
    step_kinds.find.cache_clear()


def install(site: Path, source: str | None = None) -> None:
    """Put the package into `site`; `source`: of its module, if another."""
    module = shown(PAGE, "python") if source is None else source
    install_package(site, "my_package", {"halfway": module}, shown_offers(PAGE))
