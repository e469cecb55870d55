"""What was answered is there for whoever goes on, as it was said, and told from another's."""

from pathlib import Path

import pytest

from ablate.evaluate.answer_log import Answer, AnswerLog

RED = Answer("red\n\ud800", 0.25, [[True, False], [False, False]], "vLLM 0.9")
BLUE = Answer("", 0.5, [], "ablate")


def answers_in(log: AnswerLog) -> dict[tuple[str, int], Answer]:
    return log.answers(log.rows())


def test_answers_of_all_processes_are_as_they_were_given(tmp_path: Path) -> None:
    first, second = (AnswerLog(tmp_path / "prefix", 1.0, rank) for rank in (0, 1))
    assert answers_in(first) == {}
    first.append({("gqa.ours", 3): RED})
    second.append({("gqa.ours", 4): BLUE})
    first.append({("pope.ours", 3): BLUE})
    expected = {("gqa.ours", 3): RED, ("pope.ours", 3): BLUE, ("gqa.ours", 4): BLUE}
    assert answers_in(first) == answers_in(AnswerLog(tmp_path / "prefix", 1.0, 2)) == expected


@pytest.mark.parametrize("other", [0.25, 1e-05])
def test_what_another_share_has_answered_is_taken_over_unless_it_was_asked_anew(
    tmp_path: Path, other: float
) -> None:
    before, log = AnswerLog(tmp_path, other, 0), AnswerLog(tmp_path, 0.5, 0)
    before.append({("gqa.ours", 0): RED, ("gqa.ours", 1): RED})
    log.append({("gqa.ours", 1): BLUE})
    assert answers_in(log) == {
        ("gqa.ours", 0): RED._replace(taken_over=True),
        ("gqa.ours", 1): BLUE,
    }


def test_a_line_that_a_killed_process_left_unfinished_hides_no_other(tmp_path: Path) -> None:
    AnswerLog(tmp_path, 1.0, 0).append({("gqa.ours", 0): RED, ("gqa.ours", 1): RED})
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()
    for cut in range(len(whole) - 2):
        file.write_bytes(whole[:cut])
        log = AnswerLog(tmp_path, 1.0, 0)
        assert answers_in(log) == {}
        log.append({("gqa.ours", 2): BLUE})
        assert answers_in(log) == {("gqa.ours", 2): BLUE}
