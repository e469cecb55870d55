"""A table of a user's: what is amiss is told by file, line and column."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.catalog import suites
from ablate.config.study import Study, load_study
from ablate.errors import UserError
from ablate.search.replay import replay
from ablate.search.results_csv import read_csv

BASE = "clip-micro@32"
NAMES = [BASE, f"{BASE}+sam-micro@128", f"{BASE}+eva02-micro@128"]
TITLES = [task.title for task in suites.resolve("micro").tasks]


@pytest.fixture(scope="module")
def study() -> Study:
    pool = "explore.pool=[sam-micro, eva02-micro]"
    return load_study("micro/rounds", [pool, "explore.rounds=2"])


def rows() -> list[list[str]]:
    """A whole table: a row a candidate and benchmark."""
    return [[name, title, f"{50 + n}", "1.5"] for n, name in enumerate(NAMES) for title in TITLES]


HEAD = "candidate,benchmark,score,cost"


def written(folder: Path, lines: list[list[str]], head: str = HEAD) -> Path:
    """The file of these rows."""
    path = folder / "scores.csv"
    path.write_text("\n".join([head, *map(",".join, lines)]) + "\n", encoding="utf-8")
    return path


def test_a_whole_table_is_searched(study: Study, tmp_path: Path) -> None:
    found = replay(read_csv(written(tmp_path, rows()), study))
    assert found.path == [BASE, NAMES[2]]
    assert found.hours(found.candidates) == 4.5


def test_names_are_taken_as_a_study_takes_them(study: Study, tmp_path: Path) -> None:
    """Encoders without their resolution, in any order; benchmarks also by the task's own name."""
    task = {one.title: one.task for one in suites.resolve("micro").tasks}
    swapped = [
        ["+".join(part.partition("@")[0] for part in reversed(name.split("+"))), task[title], *rest]
        for name, title, *rest in rows()
    ]
    found = replay(read_csv(written(tmp_path, swapped), study))
    assert found.path == [BASE, NAMES[2]]


def test_other_columns_comments_and_blank_lines_are_left_alone(
    study: Study, tmp_path: Path
) -> None:
    """So is a mark of the byte order: spreadsheets write one."""
    lines = [[*row, "x"] for row in rows()]
    path = written(
        tmp_path,
        [*lines[:3], [""], ["# a note"], *lines[3:]],
        f"\ufeff{HEAD},colour",
    )
    assert replay(read_csv(path, study)).path == [BASE, NAMES[2]]


def test_hours_below_zero_are_told(study: Study, tmp_path: Path) -> None:
    path = written(tmp_path, [[*row[:3], "-3"] for row in rows()])
    with pytest.raises(UserError, match="line 2, column cost: -3 is not 0 or more"):
        read_csv(path, study)


LAST = 1 + len(rows())


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("score", "high", "'high' is no number"),
        ("score", "", "'' is no number"),
        ("score", "nan", "nan is not from 0 to 100"),
        ("score", "690.7", "690.7 is not from 0 to 100"),
        ("score", "-1", "-1 is not from 0 to 100"),
        ("cost", "2", "2, but 1.5 in"),
        ("cost", "", "none, but 1.5 in"),
        ("benchmark", "Coutn", "no benchmark 'Coutn' in the study's suite; did you mean 'Count'?"),
        ("candidate", "clip-mirco", "unknown encoder 'clip-mirco'; did you mean 'clip-micro"),
        ("candidate", f"{BASE}+dinov2-micro", "'dinov2-micro@64' is none of the study's; did"),
        ("candidate", f"{BASE}+{BASE}", f"'{BASE}' is there twice"),
    ],
)
def test_a_cell_that_is_amiss_is_told_by_line_and_column(
    study: Study, tmp_path: Path, column: str, cell: str, said: str
) -> None:
    table = rows()
    table[2][["candidate", "benchmark", "score", "cost"].index(column)] = cell
    path = written(tmp_path, table)
    with pytest.raises(UserError) as raised:
        read_csv(path, study)
    assert str(raised.value).startswith(f"{path}, line 4, column {column}: {said}")


Change = Callable[[list[list[str]]], object]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t[2].pop(), ", line 4: 3 cells under 4 headings"),
        (lambda t: t[2].append("x"), ", line 4: 5 cells under 4 headings"),
        (lambda t: t.append(t[0]), f", line {LAST + 1}, column benchmark: '{BASE}' has its score"),
        (lambda t: t.pop(2), f", line 2: '{BASE}' has no score of {TITLES[2]}"),
        (lambda t: t.pop(), f", line {LAST - 7}: '{NAMES[2]}' has no score of {TITLES[-1]}"),
        (lambda t: t.clear(), ": no row with a score"),
        (lambda t: t[-1].__setitem__(1, '"open'), f", line {LAST}: unexpected end of data"),
    ],
)
def test_a_row_that_is_broken_missing_or_there_twice_is_told_by_its_line(
    study: Study, tmp_path: Path, change: Change, said: str
) -> None:
    table = rows()
    change(table)
    path = written(tmp_path, table)
    with pytest.raises(UserError) as raised:
        read_csv(path, study)
    assert str(raised.value).startswith(f"{path}{said}")


def test_a_benchmark_on_another_scale_is_refused(study: Study, tmp_path: Path) -> None:
    shares = [
        [name, title, str(float(score) / 100) if title == TITLES[1] else score, cost]
        for name, title, score, cost in rows()
    ]
    with pytest.raises(UserError, match=rf"no score of {TITLES[1]} is above 0.52; scores are in 0"):
        read_csv(written(tmp_path, shares), study)


def test_a_candidate_twice_in_another_order_is_refused(study: Study, tmp_path: Path) -> None:
    again = [["sam-micro+clip-micro", *rest] for name, *rest in rows() if name == NAMES[1]]
    with pytest.raises(UserError, match=rf"line {LAST + 1}: .* is there already: .*line "):
        read_csv(written(tmp_path, rows() + again), study)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("candidate,score,cost,benchmrak", "line 1: no column 'benchmark'; its headings are"),
        ("candidate,benchmark,score,score", "line 1: column 'score' is there twice"),
    ],
)
def test_a_heading_that_is_needed_is_there_once(
    study: Study, tmp_path: Path, head: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        read_csv(written(tmp_path, rows(), head), study)


def test_a_seed_is_a_whole_number_and_all_candidates_have_the_same(
    study: Study, tmp_path: Path
) -> None:
    head = f"{HEAD},seed"
    seeded = [[*row, str(seed)] for seed in (0, 7) for row in rows()]
    table = read_csv(written(tmp_path, seeded, head), study)
    assert table.study.seeds == (0, 7)
    lacking = seeded[: -len(TITLES)]
    with pytest.raises(UserError, match="has no run of seed 7, others have"):
        read_csv(written(tmp_path, lacking, head), study)
    with pytest.raises(UserError, match="line 2, column seed: 'first' is no seed"):
        read_csv(written(tmp_path, [[*seeded[0][:-1], "first"]], head), study)


def test_a_file_that_is_none_is_named(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: cannot be read: No such file"):
        read_csv(tmp_path / "none.csv", study)
    (tmp_path / "bytes.csv").write_bytes(b"candidate,benchmark,score\n\xff\xfe,x,1\n")
    with pytest.raises(UserError, match=r"bytes\.csv: cannot be read: it is no text in UTF-8"):
        read_csv(tmp_path / "bytes.csv", study)


@given(st.text(alphabet=',"\n\r#+@ aclip01.-\x00\ufeff', max_size=200))
def test_no_text_is_more_than_a_mistake_in_one_line(
    study: Study, tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "scores.csv"
    path.write_text("candidate,benchmark,score\n" + text, encoding="utf-8", newline="")
    with pytest.raises(UserError) as raised:
        read_csv(path, study)
    assert str(raised.value).startswith(str(path))
