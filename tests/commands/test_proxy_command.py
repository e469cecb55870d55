"""What `ablate proxy` makes, keeps and prints: features are real here, the scores are not."""

import json
from pathlib import Path

import core_fakes
import pytest
from in_process import Answer, ablate, conforms, faked

from ablate.proxies import _steps as steps

SMOKE = ("micro/smoke", "--set", "explore.pool=[dinov2-micro@64, pix2struct-micro@128]")


@pytest.fixture(autouse=True)
def few(unreported: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "IMAGES", 24)
    monkeypatch.setattr(steps, "MIRRORED", 8)


def scored() -> None:
    with faked(core_fakes.EXECUTORS):
        assert ablate("run", *SMOKE, "--backend", "inline").code == 0


def asked(*words: str) -> Answer:
    answer = ablate("proxy", *SMOKE, *words)
    assert answer.code == 0, answer
    return answer


def test_features_are_made_once_and_every_proxy_has_its_hit_rate(own_home: Path) -> None:
    scored()
    first = asked("--json")
    assert first.err.count("features of ") == 4  # three encoders and the language model
    found = json.loads(first.out)
    conforms(found, "proxy")
    again = asked("--json")
    assert (again.out, again.err) == (first.out, "")
    assert len(list(own_home.glob("store/features/*/record.json"))) == 4
    assert len(found["candidates"]) == 3
    for one in found["candidates"]:
        assert 0.0 <= one["linear_probe"] <= 1.0
        assert -1.0 <= one["alignment"] <= 1.0
        assert 0.0 <= one["correspondence"] <= 1.0
    assert found["proxies"]["cka"]["rounds"] == 1
    assert found["proxies"]["cka"]["keep"] in (1, 2)
    assert found["cka"]["clip-micro@32"]["clip-micro@32"] == pytest.approx(1.0)
    said = asked().out
    assert "linear probe" in said
    assert "few: a hit rate may be luck" in said
    assert max(map(len, said.splitlines())) <= 100


def test_numbers_without_a_score_say_that_they_have_no_worth_yet(own_home: Path) -> None:
    conforms(json.loads(asked("--json").out), "proxy")
    said = asked().out
    assert "no proxy has a hit rate here, so trust none" in said


def test_a_smaller_language_model_s_study_is_another_proxy(own_home: Path) -> None:
    scored()
    found = json.loads(asked("--small", "micro/smoke", "--json").out)
    assert "rounds" not in found["proxies"]["small_llm"]
    assert "clip-micro@32" in found["candidates"][0]["name"]
    answer = ablate("proxy", *SMOKE, "--small", "micro/blind")
    assert answer.code == 2
    assert "has no score of a mixture of micro/smoke" in answer.err
