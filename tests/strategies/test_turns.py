"""A round may take several turns: candidates trained in part, then whole, then with more seeds."""

import json
from pathlib import Path

import core_fakes
import pytest
from in_process import Answer, ablate, faked
from packages import install_package
from strategy_toys import Scores

from ablate.config.study import load_study
from ablate.design.fidelity import WHOLE, Fidelity
from ablate.reports.load import load
from ablate.search.explore import rounds_so_far
from ablate.strategies import Decision

TWO_LOOKS = '''
"""Two looks."""
from pydantic import PositiveInt
from ablate.design import Names
from ablate.design.fidelity import WHOLE, Fidelity
from ablate.strategies import Choice, Look, Standing, Strategy, Trial, alike, mean

QUARTER = Fidelity(stages={"finetune": 0.25})


class TwoLooks(Strategy):
    """The pool at a quarter of fine-tuning; the best two of it whole; of the best another seed."""

    example = {"pool": ["sam-micro@128", "eva02-micro@128", "dinov2-micro@64"]}
    looks = True

    pool: Names

    @property
    def planned_rounds(self):
        return 2

    def resolved(self, study):
        return self.model_copy(update={"pool": study.encoders("pool", self.pool)})

    def shelf(self, base):
        return (*base.encoders, *self.pool)

    def designs(self, base, before):
        grown = [(*base.encoders, expert) for expert in self.pool]
        return {"+".join(one): base.model_copy(update={"encoders": one}) for one in grown}

    def trials(self, base, before):
        turn = len(before)
        if turn == 0:
            return {"base": Trial(base)}
        every = self.designs(base, before)
        if turn == 1:
            return {point: Trial(one, fidelity=QUARTER) for point, one in every.items()}
        best = list(before[-1].decision.survivors) if before[-1].decision else list(every)[:2]
        if turn == 2:
            return {point: Trial(every[point]) for point in best}
        return {best[0]: Trial(every[best[0]], seeds=(7,))} if turn == 3 else {}

    def choose(self, rivals, history):
        runs = {point: alike(outcomes) for point, outcomes in rivals.items()}
        ranked = sorted(runs, key=lambda point: -mean(runs[point]))
        if list(rivals) == ["base"]:
            return Choice(("base",), runs)
        turn = len({one.candidate.fidelity.words for one in history}) and len(rivals)
        last = max(len(own) for own in runs.values()) == 2
        kept = ranked[:2]
        standings = {
            point: Standing(len(runs[point]), mean(runs[point]), 0.0, None,
                            "goes on" if point in kept else "dropped", "a toy")
            for point in ranked
        }
        return Choice(tuple(kept), runs, Look(() if last else tuple(kept), standings, 0.05, 0.01))
'''


@pytest.fixture
def study_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    site = tmp_path / "site"
    module = "two_looks_toys"
    offers = {"ablate.strategies": {"two_looks": f"{module}.two_looks:TwoLooks"}}
    install_package(site, module, {"two_looks": TWO_LOOKS}, offers)
    monkeypatch.syspath_prepend(site)
    explore = "{kind: two_looks, pool: [pix2struct-micro, convnext-micro, sam-micro]}"
    return ("--set", f"explore={explore}", "--set", "seeds=[0]")


def on_smoke(command: str, *words: str) -> Answer:
    with faked(core_fakes.EXECUTORS):
        return ablate(command, "micro/smoke", *words)


def test_a_candidate_in_part_says_so_in_its_name_and_a_seed_that_is_not_the_studys_too(
    study_words: tuple[str, ...],
) -> None:
    study = load_study("micro/smoke", study_words[1::2])
    scores = Scores({"base": 1.0})
    names = [one.name for one in rounds_so_far(study, scores)[1].candidates]
    assert names[0] == "clip-micro@32+pix2struct-micro@128 (25 % of finetune)"
    scores.known |= {name: float(n) for n, name in enumerate(names)}
    whole = "clip-micro@32+sam-micro@128"
    scores.known |= {whole: 9.0, "clip-micro@32+convnext-micro@128": 2.0}
    *_, third, fourth = rounds_so_far(study, scores)
    assert [one.name for one in third.candidates] == [whole, "clip-micro@32+convnext-micro@128"]
    assert [one.name for one in fourth.candidates] == [f"{whole} (seed 7)"]
    assert [turn.round for turn in rounds_so_far(study, scores)] == [1, 2, 2, 2]


def test_a_part_of_a_stage_is_another_step_and_what_is_before_it_the_same(
    study_words: tuple[str, ...],
) -> None:
    plan = json.loads(on_smoke("plan", *study_words, "--json").out)
    stages = {step["key"]: step["stage"] for step in plan["steps"]}
    quarter, whole = (
        next(
            one["steps"]
            for one in plan["candidates"]
            if one["fidelity"] == fidelity and one["encoders"][-1].startswith("pix")
        )
        for fidelity in ({"stages": {"finetune": 0.25}}, {})
    )
    shared = [stages[key] for key in whole if key in quarter]
    assert shared == ["prealign", "prealign", "pretrain"]


def test_tables_hold_what_is_whole_and_the_looks_are_told(
    study_words: tuple[str, ...], own_home: Path
) -> None:
    done = on_smoke("run", *study_words, "--backend", "inline")
    assert done.code == 0, done.err
    first = core_fakes.executed(own_home)
    assert on_smoke("run", *study_words, "--backend", "inline").code == 0
    assert core_fakes.executed(own_home) == first
    assert len(set(first)) == len(first)
    rows = json.loads(on_smoke("table", *study_words, "--json").out)["rows"]
    assert [row["round"] for row in rows] == [1, 2, 2]
    assert rows[1]["seeds"] == "0 7"
    found = load(load_study("micro/smoke", study_words[1::2]))
    assert found.complete
    assert [len(turn.partial) for turn in found.rounds] == [0, 3]
    looks = [Decision.from_json(look) for look in found.rounds[1].looks]
    assert [look.fidelity for look in looks] == [Fidelity(stages={"finetune": 0.25}), WHOLE, WHOLE]
    assert sorted(map(looks[0].mark, looks[0].scores)) == ["dropped", "goes on", "goes on"]
    status = on_smoke("status", *study_words).out
    assert "(25 % of finetune)" in status
    report = Path(done.out.splitlines()[-1].removeprefix("report: ")).parent
    results = (report / "results.html").read_text()
    assert "25 % of finetune" in results
    assert "dropped" in results
