"""What README and docs tell one to do works: the tutorial, programs, commands that only read."""

import contextlib
import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import core_fakes
import pytest
from code_blocks import PAGES, ROOT, Block, blocks, commands
from in_process import ablate, faked

TUTORIAL = ROOT / "docs" / "tutorial.md"
READS = {"list", "noise", "plan", "query", "replay", "report", "schema", "status", "table"}
"""Commands that only read, and are quick."""
WAITS = {"-w", "--open", "--live", "--against", "--repeat", "--strategy"}
"""Words that make them wait, simulate, or want what is not here."""
PROGRAMS = [
    page
    for page in PAGES
    if page != TUTORIAL
    and page.parent.name != "extending"
    and any(not block.unrun for block in blocks("python", pages=[page]))
]


def shell(line: str) -> str:
    """What a shell prints."""
    command = ["bash", "-euo", "pipefail", "-c", line]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stderr + done.stdout


def typed(line: str) -> str:
    """What a line prints: `ablate` in this process, else each would import anew what one has."""
    fed, _, command = line.rpartition("|")
    program, *words = shlex.split(command)
    if program != "ablate":
        return shell(line)
    with mock.patch("sys.stdin", io.StringIO(shell(fed))):
        code, out, err = ablate(*words)
    assert code == 0, f"{line}: {err}"
    return err + out


def executed(block: Block) -> str:
    """What a program prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})
    return out.getvalue()


@pytest.mark.slow
def test_the_tutorial_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    printed = ""
    for block in blocks("console", "python", "yaml", pages=[TUTORIAL]):
        if block.unrun:
            continue
        if block.file:
            (tmp_path / block.file).write_text(block.text)
        elif block.language == "python":
            printed += executed(block)
        else:
            printed += "".join(typed(line) for line in block.text.splitlines())
    words = printed.split()
    assert "[12/12]" in words
    assert words[-1] in {"1", "2", "3", "4"}  # of `ablate chat`
    assert {"red", "green", "blue", "yellow"} & {*words}  # of transformers


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home where `micro/rounds` was run by fakes, as all steps are while it is there."""
    home = tmp_path_factory.mktemp("played")
    with pytest.MonkeyPatch.context() as patch, faked(core_fakes.EXECUTORS):
        patch.setenv("PYTHONPATH", str(ROOT / "tests" / "toys"))
        patch.setenv("ABLATE_HOME", str(home))
        code, _, err = ablate("run", "--round", "3")
        assert code == 0, err
        yield home


def cheap(words: list[str]) -> bool:
    """Whether a line of `ablate` reads what is ours, and no more: no file of a user's."""
    if words[0] != "ablate" or len(words) < 2 or words[1] not in READS:
        return False
    return not WAITS & {*words} and not any(word.startswith(("my/", "gguf:")) for word in words)


@pytest.mark.slow
def test_every_line_that_only_reads_is_run(played: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATE_HOME", str(played))
    monkeypatch.chdir(ROOT)
    lines = {
        tuple(words)
        for block in blocks("console")
        if block.page != TUTORIAL and not block.unrun
        for words in commands(block.text)
        if cheap(words)
    }
    assert len(lines) >= 12
    for _, *words in sorted(lines):
        code, _, err = ablate(*words)
        assert code == 0, f"ablate {shlex.join(words)}: {err}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.name)
def test_every_program_runs(
    page: Path, played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_HOME", str(played))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks("python", pages=[page]):
        if not block.unrun:
            exec(compile(block.text, str(block), "exec"), names)
