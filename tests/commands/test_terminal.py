"""What a terminal shows: tables that fit it, the end of a run, and no orders of a study's own."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import ablate

from ablate.commands.output import columns, folded
from ablate.printable import one_line, printable, printable_json
from ablate.reports import terminal

STYLE = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE = "red \x1b[31malert\x1b]0;owned\x07 \u202egnp.exe\u2066 \x9b2J\nDONE 24 of 24\ud800"


def on_terminal(width: int, home: Path, *words: str) -> str:
    """What a command writes to a terminal of that width, its own styles apart."""
    ours, theirs = pty.openpty()
    surroundings = {**os.environ, "COLUMNS": str(width), "LINES": "24", "TERM": "xterm-256color"}
    child = subprocess.Popen(
        [sys.executable, "-m", "ablate", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**surroundings, "ABLATE_HOME": str(home)},
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        text += more
    os.close(ours)
    assert child.wait() == 0
    return STYLE.sub("", text.decode()).replace("\r\n", "\n")


FRAME = pd.DataFrame(
    {
        "round": [1, 2, 2],
        "candidate": ["clip-micro@32", "clip-micro@32+sam-micro@64", "clip-micro@32+eva-micro@64"],
        "mark": ["winner", "winner", "tie"],
        "score": [17.4, 22.9, 17.8],
        "score_low": [10.3, 12.3, 6.5],
        "score_high": [25.7, 35.8, 28.8],
        **{f"Task {n}": [12.5, 25.0, 100.0 + n] for n in range(9)},
        "seconds": [9, 9, 33],
    }
)


@pytest.mark.parametrize("width", [50, 80, 120, 240])
def test_a_table_fits_and_loses_no_column(width: int) -> None:
    lines = STYLE.sub("", terminal.table(FRAME, width, "A caption", ["A note."])).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    heads = ["Standing", "Score", *(f"Task {n}" for n in range(9)), "Seconds"]
    assert [text.count(head) for head in heads] == [1] * len(heads)
    assert text.count("[12.3, 35.8]") == text.count("33\n") == 1
    assert "Failed" not in text
    assert text.endswith("A note.")


def test_the_winners_are_bold_and_nobody_else() -> None:
    lines = terminal.table(FRAME, 200).splitlines()
    bold = [line for line in lines if "\x1b[1m" in line and "Round" not in line]
    assert [STYLE.sub("", line).split()[2] for line in bold] == ["winner"] * 2


@given(st.text(), st.integers(40, 200))
def test_what_a_study_wrote_gives_a_table_no_orders(said: str, width: int) -> None:
    names = [HOSTILE + said, said, "b"]
    drawn = STYLE.sub("", terminal.table(FRAME, width, said, [said], names))
    assert printable(drawn) == drawn


def test_orders_to_a_terminal_are_shown_by_their_code() -> None:
    assert one_line(HOSTILE) == (
        r"red \x1b[31malert\x1b]0;owned\x07 \u202egnp.exe\u2066 \x9b2J DONE 24 of 24\ud800"
    )
    assert printable("a\tb\nc") == "a\tb\nc"
    assert printable("é 中 שלום 👩‍💻") == "é 中 שלום 👩‍💻"
    assert printable_json('"\u202e\x9b"') == r'"\u202e\u009b"'
    assert columns(["A", "B"], [["x\ny", 1]]) == "A    B\nx y  1"


def test_a_hostile_title_and_arm_reach_no_terminal_raw(tmp_path: Path) -> None:
    study = tmp_path / "mine.yaml"
    study.write_text(
        'extends: micro/smoke\ntitle: "red \\e[31m \\u202e up\\nmicro: 12 of 12 done"\n'
        'explore:\n  kind: arms\n  axis: fusion\n  arms:\n    - {name: "plain \\e]0;owned\\a"}\n'
        '    - {name: "other", set: {fusion.name: sequence_append}}\n'
    )
    for words in (["plan"], ["status"], ["table"], ["table", "--json"], ["plan", "--json"]):
        said = ablate(words[0], str(study), *words[1:])
        assert said.code == 0, said.err
        assert "owned" in said.out
        assert not set("\x1b\x07\u202e") & set(said.out + said.err), words
        assert "\nmicro: 12 of 12 done" not in said.out


@pytest.mark.parametrize("words", [("list", "connectors"), ("plan",)])
def test_columns_fit_a_terminal_and_lose_no_word(tmp_path: Path, words: tuple[str, ...]) -> None:
    piped, narrow = ablate(*words).out, on_terminal(80, tmp_path, *words)
    assert max(map(len, piped.splitlines())) > 100
    assert max(map(len, narrow.splitlines())) <= 80
    assert sorted("".join(narrow.split())) == sorted("".join(piped.split()))


def test_a_name_is_broken_last_and_between_its_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablate.commands.output.terminal_width", lambda: 40)
    rows = [("clip-l14@448+convnext-xxl@1024.concat", "some words of a kind", 1)]
    assert columns(("NAME", "WHAT", "N"), rows).splitlines() == [
        "NAME                       WHAT        N",
        "clip-l14@448+              some words  1",
        "convnext-xxl@1024.concat   of a kind",
    ]


def test_lines_of_prose_go_on_before_a_word_and_under_their_indent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "  a path /as/long/as/it/is stays whole\n\nshort"
    assert folded(text) == text
    monkeypatch.setattr("ablate.commands.output.terminal_width", lambda: 20)
    assert folded(text).splitlines() == [
        "  a path",
        "  /as/long/as/it/is",
        "  stays whole",
        "",
        "short",
    ]


def test_a_log_is_raw_in_a_pipe_and_harmless_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "logs" / "prealign-sam-micro@128-aaaaaaaaaaaa"
    folder.mkdir(parents=True)
    (folder / "attempt-1.log").write_text("a\x1b]0;owned\x07b\n")
    monkeypatch.setenv("ABLATE_HOME", str(tmp_path))
    assert ablate("logs", "aaaa").out == "a\x1b]0;owned\x07b\n"
    assert on_terminal(80, tmp_path, "logs", "aaaa") == "a\\x1b]0;owned\\x07b\n"
