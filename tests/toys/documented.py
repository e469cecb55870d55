"""The examples of docs/extending, as a package of another author that is installed."""

from pathlib import Path

import anew
from packages import install_package, shown, shown_offers

ROOT = Path(__file__).parents[2]


class Example:
    """What a page of docs/extending shows, as `my_package` with its entry points in `site`.

    `study`: the file of its study.
    """

    def __init__(self, page: str, site: Path) -> None:
        offers = shown_offers(page)
        [target] = [at for entries in offers.values() for at in entries.values()]
        module = target.partition(":")[0].rpartition(".")[2]
        install_package(site, "my_package", {module: shown(page, "python")}, offers, "1")
        self.site, self.study = site, site / "study.yaml"
        self.study.write_text(shown(page, "yaml"))

    def ablate(self, home: Path, *words: str) -> str:
        """What a command of the user who has it installed prints."""
        return anew.ablate(home, self.site, *words, cwd=ROOT).stdout


ONE_STEP = [
    *("--set", "base.recipe.prealign=null"),
    *("--set", "base.recipe.pretrain.steps=1"),
    *("--set", "base.recipe.finetune.steps=2"),
    *("--set", "seeds=[0]"),
    *("--set", "explore={kind: rounds, rounds: 1, pool: [pix2struct-micro@128]}"),
]
"""Of micro/smoke as little as still runs."""
