"""The examples of `docs/extending.md`, by the path of the file that each is."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
_EXAMPLE = re.compile(
    r"^```\w+\n(?:# |\{# )(?P<path>[\w/.]+)(?: #\})?\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE
)

EXAMPLES = {one["path"]: one["text"] for one in _EXAMPLE.finditer(PAGE.read_text("utf-8"))}

OFFERS = {
    "ablate.encoder_families": {"patchy": "patchy:PatchyEncoder"},
    "ablate.encoders": {"patchy": "patchy:SPECS"},
    "ablate.metrics": {"first_word": "first_word:READER"},
    "ablate.report_pages": {"novelty": "novelty:PAGE"},
    "fusion_zoo": {
        "question_gate": "question_gate:QuestionGate",
        "cross_attention": "cross_attention:CrossAttention",
    },
}
"""What each example is, by the entry points of a package that has them."""


def install(site: Path) -> None:
    """Put a package of another author into `site` that has these examples, with its metadata."""
    package, info = site / "their_examples", site / "their_examples-1.dist-info"
    for folder in (package, info):
        folder.mkdir(parents=True)
    (package / "__init__.py").touch()
    known = {target.partition(":")[0] for offers in OFFERS.values() for target in offers.values()}
    for path, text in EXAMPLES.items():
        if Path(path).stem in known:
            (package / Path(path).name).write_text(text)
    groups = (
        f"[{group}]\n" + "".join(f"{name} = their_examples.{at}\n" for name, at in offers.items())
        for group, offers in OFFERS.items()
    )
    (info / "entry_points.txt").write_text("\n".join(groups))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-examples\nVersion: 1\n")
