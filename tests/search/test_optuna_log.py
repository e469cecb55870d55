"""Every decided candidate is one trial of the Optuna study, however often it is written."""

import json
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from ablate.config.study import load_study
from ablate.home import Home
from ablate.search.explore import rounds_so_far
from ablate.search.optuna_log import TrialLog
from ablate.store.results import Evaluation, Failure
from ablate.store.steps import steps_for


class Results:
    """Scores by name of the design; the others have not ended."""

    def __init__(self, study, scores):
        self.study, self.scores = study, scores

    def result(self, candidate):
        step = steps_for(candidate, self.study)[-1]
        score = self.scores.get(candidate.encoders[-1])
        if isinstance(score, str):
            return Failure(step, score)
        rows = "answers.jsonl"
        return score and Evaluation(step.key, {"abl_ocr": score}, score, rows)

    def decision(self, number):
        return None


class Answered(Evaluation):
    def rows(self):
        task = {"task": "abl_ocr", "image": "1.png", "weight": 1.0}
        return [{**task, "id": "1", "score": self.composite / 100}]


@pytest.fixture
def study():
    return load_study("micro/rounds")


def first_two(study, scores):
    class Known(Results):
        def result(self, candidate):
            found = super().result(candidate)
            return Answered(**vars(found)) if isinstance(found, Evaluation) else found

    lookup = Known(study, scores)
    return rounds_so_far(study, lookup, 2), lookup


def journal(home, study):
    return Home(home).study(study.id) / "optuna.journal"


def write(home, study, turns, lookup):
    with closing(TrialLog(study, home)) as log:
        log.write(turns, lookup)


def trials(home, study):
    storage = JournalStorage(JournalFileBackend(str(journal(home, study))))
    return optuna.load_study(study_name=study.name, storage=storage).trials


SCORES = {"clip-micro@32": 40.0}


def pool_scores(study):
    return SCORES | {name: 50.0 + n for n, name in enumerate(study.explore.pool)}


def test_candidates_become_trials_with_their_score_and_parameters(study, tmp_path):
    turns, lookup = first_two(study, pool_scores(study))
    write(tmp_path, study, turns, lookup)
    found = trials(tmp_path, study)
    assert [trial.value for trial in found] == [40.0, *(50.0 + n for n in range(5))]
    best = found[-1]
    assert best.params["round"] == 2
    assert best.params["fusion"] == study.base.fusion.name
    assert best.params[study.explore.pool[-1]] is True
    assert best.params[study.explore.pool[0]] is False
    assert best.user_attrs["won"] is True
    assert [trial.user_attrs["won"] for trial in found[1:-1]] == [False] * 4
    assert best.user_attrs["step"] == steps_for(turns[1].candidates[-1], study)[-1].key
    assert len({tuple(trial.distributions.items()) for trial in found}) == 1


def test_writing_rounds_again_adds_what_is_new_to_what_is_there(study, tmp_path):
    turns, lookup = first_two(study, pool_scores(study))
    write(tmp_path, study, turns[:1], lookup)
    first = journal(tmp_path, study).read_text()
    for _ in range(2):
        write(tmp_path, study, turns, lookup)
        assert len(trials(tmp_path, study)) == 6
        assert journal(tmp_path, study).read_text().startswith(first)


@pytest.mark.parametrize("left", ['{"cut sho', "[]\n", "\0"])
def test_a_journal_that_is_damaged_is_written_anew(study, tmp_path, left):
    turns, lookup = first_two(study, pool_scores(study))
    write(tmp_path, study, turns[:1], lookup)
    with journal(tmp_path, study).open("a") as file:
        file.write(left)
    write(tmp_path, study, turns, lookup)
    assert len(trials(tmp_path, study)) == 6


def test_results_that_were_thrown_away_leave_no_trial(study, tmp_path):
    turns, lookup = first_two(study, pool_scores(study))
    write(tmp_path, study, turns, lookup)
    turns, lookup = first_two(study, pool_scores(study) | {"clip-micro@32": 41.0})
    write(tmp_path, study, turns, lookup)
    assert [trial.value for trial in trials(tmp_path, study)][:2] == [41.0, 50.0]
    assert len(trials(tmp_path, study)) == 6


def test_one_process_writes_at_a_time(study, tmp_path):
    turns, lookup = first_two(study, pool_scores(study))
    with closing(TrialLog(study, tmp_path)) as one, closing(TrialLog(study, tmp_path)) as other:
        one.write(turns[:1], lookup)
        other.write(turns, lookup)
        assert len(trials(tmp_path, study)) == 1
    write(tmp_path, study, turns, lookup)
    assert len(trials(tmp_path, study)) == 6


def test_a_failed_candidate_is_a_failed_trial_with_its_reason(study, tmp_path):
    scores = pool_scores(study) | {study.explore.pool[0]: "the loss is NaN at step 3"}
    turns, lookup = first_two(study, scores)
    write(tmp_path, study, turns[1:], lookup)
    failed = trials(tmp_path, study)[0]
    assert failed.state == TrialState.FAIL
    assert "the loss is NaN at step 3" in failed.user_attrs["error"]


def test_the_candidates_of_an_open_round_are_left_out(study, tmp_path):
    turns, lookup = first_two(study, SCORES)
    open_round = replace(turns[1], decision=None)
    write(tmp_path, study, [open_round], lookup)
    assert trials(tmp_path, study) == []


def test_arms_are_trials_by_name(tmp_path):
    study = load_study("micro/fusion")
    arms = [arm.name for arm in study.explore.arms]

    class Scored(Results):
        def result(self, candidate):
            step = steps_for(candidate, self.study)[-1]
            value = float(arms.index(candidate.point))
            return Answered(step.key, {"abl_ocr": value}, value, Path("answers.jsonl"))

    lookup = Scored(study, {})
    write(tmp_path, study, rounds_so_far(study, lookup), lookup)
    found = trials(tmp_path, study)
    assert [trial.user_attrs["point"] for trial in found] == arms


def test_a_trial_takes_as_much_of_the_journal_however_many_there_are(tmp_path, monkeypatch):
    class Scored(Results):
        def result(self, candidate):
            step = steps_for(candidate, self.study)[-1]
            return Answered(step.key, {"abl_ocr": 1.0}, 1.0, Path("answers.jsonl"))

    flushed, flush = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (flushed.append(handle), flush(handle)))
    sizes = []
    for count in (10, 40):
        arms = [
            {"name": f"arm {n:09}", "set": {"recipe.finetune.steps": 100 + n}} for n in range(count)
        ]
        explore_ = {"kind": "arms", "axis": "steps", "arms": arms}
        study = load_study("micro/fusion", [f"explore={json.dumps(explore_)}", "seeds=[0]"])
        lookup = Scored(study, {})
        write(tmp_path, study, rounds_so_far(study, lookup), lookup)
        assert len(trials(tmp_path, study)) == count
        sizes.append(journal(tmp_path, study).stat().st_size / count)
    assert sizes[1] < 1.05 * sizes[0]
    assert len(flushed) < 5
