"""A small study trained and scored on toy sets of the published benchmarks, from YAML to table."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from benchmark_toys import save

from ablate import cli
from ablate.evaluate import suites
from ablate.files import read_json

STUDY = """
extends: micro/smoke
title: Two mixtures on the published benchmarks
suite: toys.yaml
base:
  recipe: {prealign: null}
published: T_released_1p8M
explore:
  kind: arms
  axis: mixture
  arms:
    - {name: four, published: Eagle-X4-7B}
    - {name: five, published: Eagle-X5-7B, set: {encoders: [clip-micro@32, sam-micro@128]}}
"""


def test_a_study_on_the_published_benchmarks_runs_to_its_table_beside_the_paper(
    tmp_path: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path / "data"))
    eagle = suites.resolve("eagle").tasks
    for task in eagle:
        save(task, tmp_path / "datasets" / "benchmarks")
    toys = [task.model_dump(exclude={"questions"}) for task in eagle]  # as few as there are
    (tmp_path / "toys.yaml").write_text(yaml.safe_dump({"title": "toys", "tasks": toys}))
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)

    def ablate(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["ablate", words[0], str(path), *words[1:]])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert not ended.value.code, said.err
        return said.out

    ablate("run", "--backend", "inline")
    found = json.loads(ablate("table", "--against", "paper", "--json"))
    compared = [row for row in found["rows"] if row["delta"] is not None]
    assert {row["candidate"] for row in compared} == {"four", "five"}
    assert len(compared) == 2 * 14  # AI2D is asked and not published, MathVista the reverse
    for row in compared:
        assert row["delta"] == pytest.approx(row["here"] - row["published"], abs=0.11)
        assert row["delta_low"] <= row["delta"] <= row["delta_high"]
    records = [read_json(one) for one in (own_home / "store" / "evaluate").glob("*/record.json")]
    assert len(records) == 2
    assert all(len(record["result"]["sets"]) == 15 for record in records)
    assert records[0]["result"]["sets"] == records[1]["result"]["sets"]
