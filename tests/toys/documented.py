"""The examples of docs/extending.md, as a package of another author that is installed."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Example:
    """What a section of docs/extending.md shows, as `my_package` with its entry points in `site`.

    `study`: the file of its study.
    """

    def __init__(self, section: str, site: Path) -> None:
        text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
        [own] = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
        block = dict(re.findall(r"```(\w+)\n(.*?)```", own, re.S))
        [(group, name, module)] = re.findall(
            r'entry-points\."([\w.]+)"\]\n(\w+) = "my_package\.(\w+:\w+)"', block["toml"]
        )
        info = site / "my_package-1.dist-info"
        for folder in (info, site / "my_package"):
            folder.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = my_package.{module}\n")
        (site / "my_package" / "__init__.py").touch()
        (site / "my_package" / f"{module.partition(':')[0]}.py").write_text(block["python"])
        self.site, self.study = site, site / "study.yaml"
        self.study.write_text(block["yaml"])

    def ablate(self, home: Path, *words: str) -> str:
        """What a command of the user who has it installed prints."""
        paths = [str(self.site), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "ABLATE_HOME": str(home)}
        command = [sys.executable, "-m", "ablate", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return done.stdout


ONE_STEP = [
    *("--set", "base.recipe.prealign=null"),
    *("--set", "base.recipe.pretrain.steps=1"),
    *("--set", "base.recipe.finetune.steps=2"),
    *("--set", "seeds=[0]"),
    *("--set", "explore={kind: rounds, rounds: 1, pool: [pix2struct-micro@128]}"),
]
"""Of micro/smoke as little as still runs."""
