"""A study of the paper from its own YAML to its table, on toys under the published names.

Of a study those arms are trained that go another way through the code than the others: each fusion,
each expert in each of its forms, trained or frozen, each kind of recipe, a language model with our
template and one with its own. All arms are planned and built, at their published sizes, in
`tests/config/test_eagle.py`.
"""

import json
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import eagle_toys
import pytest
from benchmark_toys import TOYS

from ablate.catalog import published
from ablate.config.study import load_study
from ablate.files import read_json

POOL = ["eva02-l16-det@1024", "sam-l@1024"]
"""Of the experts of the rounds: enough for a decision that follows from another."""
EXPLORED: Mapping[str, Mapping[str, Any]] = {
    "rounds": {"rounds": 3, "pool": POOL},
    "resolution": {
        "arms": [
            "CLIP 336 drawn up to 32x32, as released",
            "CLIP 448, frozen",
            "CLIP 672",
            "CLIP 672 in tiles",
            "InternViT 448",
        ]
    },
    "experts": {"arms": ["ConvNeXt, frozen", "EVA-02, frozen", "Pix2Struct", "SAM", "DINOv2"]},
    "fusion": {
        "arms": [
            "Sequence Append",
            "LLaVA-HR",
            "Mini-Gemini",
            "Mini-Gemini with stages",
            "Deformable Attn",
            "Channel Concat, with SAM",
        ]
    },
    "prealign": {"arms": ["frozen, pre-aligned", "unfrozen, pre-aligned, v1's joint stage"]},
    "stages": {
        "arms": [
            "2 epochs",
            "encoders unfrozen in pre-training",
        ]
    },
    "released": {"arms": ["Eagle-X5-7B", "Eagle-X4-34B"]},  # pre-aligned are those of the rounds
}
"""What of each study is trained: arms by name, or rounds over fewer experts."""


def runs_to_its_table(
    name: str, toys: Path, ablate: Callable[..., Any], explored: Mapping[str, Any] | None = None
) -> None:
    """Fetch, run, plan and table of `eagle/<name>`, of what is `explored`, are what they promise.

    `toys`: the folder of the fixture; `explored`: by default what EXPLORED says.
    """
    path = eagle_toys.small(f"eagle/{name}", toys, explored or EXPLORED[name])

    def call(command: str, *words: str) -> str:
        answer = ablate(command, path, *words)
        assert answer.code == 0, answer.err
        return str(answer.out)

    call("fetch")
    call("run", "--backend", "inline")
    rounds = json.loads(call("status", "--json"))["rounds"]
    found = [one for turn in rounds for one in turn["candidates"]]
    assert {one["name"]: one["failure"] for one in found if one["state"] != "done"} == {}
    plan = json.loads(call("plan", "--json"))
    assert len(found) == len(plan["candidates"])
    for step in plan["steps"]:
        [folder] = (toys / "home" / "store" / step["kind"]).glob(f"*-{step['key'][:12]}")
        record, spec = (read_json(folder / f"{name}.json") for name in ("record", "spec"))
        if step["kind"] == "evaluate":
            assert record["result"]["sets"].keys() == TOYS.keys()
        else:
            model = spec["spec"]["model"]
            used = {one["weights"]["ref"] for one in model["encoders"]} | {model["llm"]["ref"]}
            assert record["result"]["weights"].keys() == used
            assert record["result"]["bad_rows"]
            parts = [
                row["part"] for row in read_json(folder / "parameters.json") if row["trainable"]
            ]
            learnt = {part.partition("-")[0] for part in parts} - {"fusion"}  # most have none
            asked = {part.removesuffix("s") for part in spec["spec"]["stage"]["train"]}
            assert learnt == asked - {"fusion"}
    rows = json.loads(call("table", "--against", "paper", "--json"))["rows"]
    assert rows
    table = published.table(str(load_study(f"eagle/{name}").published))
    cells = {(row["published_row"], row["measure"]): row["published"] for row in rows}
    for row, column in product(table.rows, table.columns):
        assert cells.get((row.name, column)) == table.cell(row.name, column)
    compared = [row for row in rows if row["delta"] is not None]
    for row in compared:
        assert row["delta"] == pytest.approx(row["here"] - row["published"], abs=0.11)
        if row["delta_low"] is not None:  # where all is wrong, as it may be, there is no interval
            assert row["delta_low"] <= row["delta"] <= row["delta_high"]
    repeated = {row["candidate"] for row in rows if row["candidate"] and row["published_row"]}
    assert repeated
    if table.id != "T5_prealign":  # of which no cell of a single benchmark is published
        assert {row["candidate"] for row in compared} == repeated
