"""All that a home holds is asked in SQL, and comes as columns, CSV, JSON or Parquet."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from core_fakes import EXECUTORS
from in_process import ablate

from ablate.config.study import load_study
from ablate.driver.scheduler import drive
from ablate.files import read_json


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which fakes have run a study of three candidates."""
    home = tmp_path_factory.mktemp("done") / "home"
    study = load_study("micro/smoke", ["seeds=[0]"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATE_HOME", str(home))
        drive(study, None, "inline", None, home=home, executors=EXECUTORS)
    return home


@pytest.fixture
def home(done: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That home, for commands to read."""
    monkeypatch.setenv("ABLATE_HOME", str(done))
    return done


def rows(sql: str) -> list[dict[str, object]]:
    code, out, err = ablate("query", sql, "--json")
    assert code == 0, err
    found: list[dict[str, object]] = json.loads(out)["rows"]
    return found


def test_what_is_stored_is_what_is_found(home: Path) -> None:
    records = [read_json(path) for path in home.glob("store/*/*/record.json")]
    [count] = rows("select count(*) n, sum(seconds) s from steps")
    assert count["n"] == len(records)
    assert count["s"] == pytest.approx(sum(record["seconds"] for record in records))
    scores = [one["result"]["composite"] for one in records if one["kind"] == "evaluate"]
    found = rows(
        "select encoders, fusion, llm, seed, score, studies from candidates order by score"
    )
    assert [row["score"] for row in found] == pytest.approx(sorted(scores))
    assert {row["seed"] for row in found} == {0}
    assert any(row["encoders"] == ["clip-micro@32", "convnext-micro@128"] for row in found)
    assert all(len(row["studies"]) == 1 for row in found)
    by_task = "select key, avg(score) mean from cells group by key"
    same = f"select key from candidates join ({by_task}) using (key) where abs(mean - score) < 1e-6"
    assert len(rows(same)) == len(scores)
    lines = sum(len(path.read_text().splitlines()) for path in home.glob("store/*/*/answers.jsonl"))
    assert rows("select count(*) n from answers") == [{"n": lines}]


def test_it_comes_as_columns_or_as_csv(home: Path) -> None:
    out = ablate("query", "select kind, key from steps order by key", "--format", "csv").out
    assert out.splitlines()[0] == "kind,key"
    assert ablate("query", "select 1 as one").out == "one\n1\n"


def test_parquet_is_the_same_frame(home: Path, tmp_path: Path) -> None:
    def run(*words: str) -> bytes:
        line = [sys.executable, "-m", "ablate", *words, "--format", "parquet"]
        return subprocess.run(line, check=True, capture_output=True).stdout

    for words in (("query", "select key, encoders from candidates"), ("table", "micro/smoke")):
        path = tmp_path / "x.parquet"
        path.write_bytes(run(*words))
        frame = pd.read_parquet(path)
        assert len(frame) == 3
    shown = json.loads(ablate("table", "micro/smoke", "--json").out)["rows"]
    assert list(frame["score"]) == [row["score"] for row in shown]
    assert list(frame["candidate"]) == [row["candidate"] for row in shown]


def test_a_mistake_is_a_line_and_nothing_beyond_the_home_is_reached(home: Path) -> None:
    for sql, said in {
        "selec x": "syntax error",
        " -- ": "it asks for nothing",
        "select scor from cells": 'Referenced column "scor" not found',
        "select * from read_csv('/etc/hosts')": "disabled by configuration",
        f"copy steps to '{home}/out.csv'": "disabled by configuration",
    }.items():
        code, out, err = ablate("query", sql)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert said in err
    assert not (home / "out.csv").exists()


def test_a_time_is_written_as_a_time(own_home: Path) -> None:
    [row] = rows("select to_timestamp(1.5) at time zone 'UTC' t, date '2024-02-03' d")
    assert row == {"t": "1970-01-01T00:00:01.500", "d": "2024-02-03T00:00:00.000"}


def test_an_empty_home_has_empty_tables(own_home: Path) -> None:
    for name in ("candidates", "cells", "answers", "steps"):
        assert rows(f"select count(*) n from {name}") == [{"n": 0}]


def test_without_duckdb_it_is_told_what_to_install(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    code, _, err = ablate("query", "select 1")
    assert (code, "pip install 'ablate-vlm[query]'" in err) == (2, True)
