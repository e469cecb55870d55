"""The examples of `docs/extending`, by the path of the file that each is."""

import re
from pathlib import Path

from packages import PAGES, install_package

_EXAMPLE = re.compile(
    r"^```\w+\n(?:# |\{# )(?P<path>[\w/.]+)(?: #\})?\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE
)

EXAMPLES = {
    example["path"]: example["text"]
    for page in sorted(PAGES.glob("*.md"))
    for example in _EXAMPLE.finditer(page.read_text("utf-8"))
}

OFFERS = {
    "ablate.annotators": {"daylight": "daylight:Daylight"},
    "ablate.connectors": {"row_means": "row_means:RowMeans"},
    "ablate.encoder_families": {"patchy": "patchy:PatchyEncoder"},
    "ablate.encoders": {"patchy": "patchy:SPECS"},
    "ablate.metrics": {"first_word": "first_word:READER"},
    "ablate.proxies": {"effective_rank": "effective_rank:EffectiveRank"},
    "ablate.report_pages": {"novelty": "novelty:PAGE"},
    "ablate.trackers": {"csv_files": "csv_files:CsvFiles"},
    "ablate.injections": {"token_type": "token_type:TokenType"},
    "ablate.tilings": {"fovea": "fovea:Fovea"},
    "fusion_zoo": {
        "question_gate": "question_gate:QuestionGate",
        "cross_attention": "cross_attention:CrossAttention",
    },
}
"""What each example is, by the entry points of a package that has them."""


def install(site: Path) -> None:
    """Put a package of another author into `site` that has these examples."""
    offers = {
        group: {name: f"their_examples.{at}" for name, at in entries.items()}
        for group, entries in OFFERS.items()
    }
    known = {at.partition(":")[0] for entries in OFFERS.values() for at in entries.values()}
    modules = {Path(path).stem: text for path, text in EXAMPLES.items() if path.endswith(".py")}
    own = {name: text for name, text in modules.items() if name in known}
    install_package(site, "their_examples", own, offers, version="1")
    for path, text in EXAMPLES.items():
        if path.endswith(".html") and Path(path).stem in known:
            (site / "their_examples" / Path(path).name).write_text(text)
