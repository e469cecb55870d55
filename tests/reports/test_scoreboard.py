"""One place for all scores: the same questions for everyone, runs kept apart, any pair at hand."""

import dataclasses

import pytest

from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.scoreboard import Scoreboard
from ablate.reports.significance import standing
from ablate.stats.bootstrap import compare
from ablate.store.answers import Answers


def test_scores_are_the_composites_and_lie_in_their_intervals(greedy: StudyResult) -> None:
    for one in greedy.candidates:
        found = greedy.scoreboard.score(one)
        assert (found is None) == (one.composite is None)
        if found:
            assert found.estimate == pytest.approx(one.composite)
            assert found.low < found.estimate < found.high


def test_of_several_seeds_the_score_is_the_mean_of_the_runs(arms: StudyResult) -> None:
    board, first = arms.scoreboard, arms.candidates[0]
    assert [len(run.rows) for run in board.runs[first]] == [80, 80]
    found = board.score(first)
    assert found is not None
    assert found.estimate == pytest.approx(first.composite)
    for task, score in first.scores.items():
        cell = board.score(first, (task,))
        assert cell is None or cell.estimate == pytest.approx(score)


def test_the_rows_of_several_seeds_are_told_apart_by_their_seed(arms: StudyResult) -> None:
    first = arms.candidates[0]
    rows = [dict(row) for run in first.runs for row in run.rows]
    seeds = [seed for seed, run in enumerate(first.runs) for _ in run.rows]
    told = [{**row, "seed": seed} for row, seed in zip(rows, seeds, strict=True)]
    assert list(first.rows) == told
    assert first.config["seeds"] == [0, 1]
    frame = first.answers
    assert frame["seed"].tolist() == [0, 1] * 80
    assert frame["id"].nunique() == 80


def test_a_pair_has_the_interval_the_search_gives_it(greedy: StudyResult) -> None:
    best, base = greedy.best, greedy.base
    assert best is not None
    found = greedy.scoreboard.difference(best, base)
    assert found is not None
    alone = compare([best.rows], [base.rows])
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))
    decision = greedy.rounds[1].decision
    assert decision is not None
    ahead = greedy.scoreboard.difference(
        greedy.rounds[1].winner or base, greedy.rounds[1].named(decision["runner_up"])
    )
    assert ahead is not None
    assert decision["interval"] == pytest.approx([ahead.low, ahead.high])


def test_only_questions_that_all_answered_are_compared(greedy: StudyResult) -> None:
    one, other = greedy.candidates[:2]
    fewer = dataclasses.replace(other, runs=(Answers.of(other.rows[:9:-1]),))
    board = Scoreboard([one, fewer])
    assert len(board.questions) == len(one.rows) - 10
    for (task, name), row, again in zip(
        board.questions, board.runs[one][0].rows, board.runs[fewer][0].rows, strict=True
    ):
        assert (row["task"], row["id"]) == (again["task"], again["id"]) == (task, name)
    assert board.difference(fewer, one) is not None


def test_a_score_that_is_not_known_has_no_interval_and_one_that_is_perfect_has(
    greedy: StudyResult,
) -> None:
    right = tuple({**row, "score": 1.0} for row in greedy.base.rows)
    perfect = dataclasses.replace(greedy.base, runs=(Answers.of(right),))
    unknown = dataclasses.replace(greedy.base, runs=())
    board = Scoreboard([perfect, greedy.base, unknown])
    found = board.score(perfect)
    assert found is not None
    assert found.low < found.high == found.estimate == 100.0
    assert board.score(unknown) is None
    assert board.difference(unknown, perfect) is None
    gain = board.difference(perfect, greedy.base)
    assert gain is not None
    assert gain.low > 0


def test_without_a_scored_candidate_there_is_nothing(empty: StudyResult) -> None:
    board = empty.scoreboard
    one, other = empty.candidates[:2]
    assert board.questions == []
    assert board.score(one) is None
    assert board.differences([(one, other), (one, None)]) == [None, None]
    assert board.contrast({one: 1.0, other: -1.0}) is None
    assert board.halves([one, other], one) is None


def test_a_contrast_of_one_pair_is_their_difference(greedy: StudyResult) -> None:
    pair: tuple[CandidateResult, CandidateResult] = (greedy.candidates[1], greedy.candidates[2])
    found = greedy.scoreboard.contrast({pair[0]: 1.0, pair[1]: -1.0}, ("abl_ocr",))
    expected = greedy.scoreboard.difference(*pair, ("abl_ocr",))
    assert found is not None
    assert expected is not None
    assert found.low == pytest.approx(expected.low)


def test_a_scored_candidate_whose_answers_are_gone_has_no_standing(greedy: StudyResult) -> None:
    turn = greedy.rounds[-1]
    lost = dataclasses.replace(turn.candidates[0], runs=())
    turn = dataclasses.replace(turn, candidates=(lost, *turn.candidates[1:]))
    study = dataclasses.replace(greedy, rounds=(*greedy.rounds[:-1], turn))
    assert lost.status == "done"
    assert standing(study, lost) == ""
    others = {standing(study, one) for one in turn.candidates[1:]}
    assert others & {"best", "winner"}


def test_what_records_say_alike_is_in_memory_once(greedy: StudyResult) -> None:
    done = [step.record for step in greedy.steps.values() if step.status == "done"]
    assert len(done) > 1
    assert len({id(record["versions"]) for record in done}) == 1
