"""What README and docs point to is there, and what they tell one to write is taken."""

import csv
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from code_blocks import PAGES, ROOT, Block, blocks, commands
from doc_examples import EXAMPLES

from ablate.cli import app
from ablate.config.clusters import Clusters, profile
from ablate.config.infra import Infra
from ablate.config.study import Written, load_study

ROOMS = "ablate|fusion_zoo|reports|sweeps|docs|tests|benchmarks"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INSTALLED = ("adapter", "annotator", "launcher", "objective", "stage", "strategy")
"""Pages of docs/extending whose example tests install as a package and run to a report."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    named = re.findall(rf"`((?:{ROOMS})/[\w./-]+)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing + [name for name in named if not (ROOT / name).exists()] == []


SHELL = [
    *PAGES,
    *(path for room in ("commands", "cli") for path in (ROOT / "ablate" / room).glob("*.py")),
]


@pytest.mark.parametrize("page", SHELL, ids=lambda page: page.name)
def test_what_is_typed_in_a_shell_has_its_brackets_quoted(page: Path) -> None:
    """Zsh takes `[` for a pattern, and ends where no file has that name."""
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"--set +[^'\s`\"]*=[\[{][^\s`]*", text) == []


def test_every_block_is_of_a_language_that_a_test_reads() -> None:
    known = {"console", "csv", "html", "json", "python", "text", "toml", "yaml"}
    assert [f"{block} {block.language}" for block in blocks() if block.language not in known] == []


def parse(words: list[str]) -> None:
    """Read a line of `ablate` as the command line does, without doing what it says."""
    group: Any = typer.main.get_command(app)
    if words[0].startswith("-"):
        assert words[0] in {word for param in group.params for word in param.opts}
        return
    with group.make_context("ablate", words, resilient_parsing=True) as above:
        command = group.commands[words[0]]
        try:
            command.make_context(words[0], words[1:], parent=above)
        except typer.BadParameter as error:
            if "does not exist" not in str(error):  # a file of the reader's
                raise


def check(words: list[str]) -> None:
    """A line of a shell names what there is."""
    match words:
        case ["ablate", *rest]:
            parse(rest)
        case ["make", *rest]:
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            targets = re.findall(r"^([\w-]+):", makefile, re.MULTILINE)
            assert {word for word in rest if "=" not in word and word[0] != "-"} <= {*targets}
        case ["pytest" | "python" | "python3", *rest]:
            paths = [word for word in rest if "/" in word]
            assert [path for path in paths if not (ROOT / path).exists()] == []
        case ["pip", "install", *rest]:
            extras = [extra for word in rest for extra in re.findall(r"\[([\w,]+)\]", word)]
            assert {*",".join(extras).split(",")} - {""} <= {*PROJECT["optional-dependencies"]}
        case [program, *_]:
            assert program in {"ray", "optuna-dashboard", "cat", "echo", "git", "cd", "."}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_line_for_a_shell_is_one_that_its_program_takes(page: Path) -> None:
    for block in blocks("console", pages=[page]):
        for words in commands(block.text):
            try:
                check(words)
            except Exception as error:
                pytest.fail(f"{block}: {' '.join(words)}: {error!r}")


def test_every_example_in_the_help_of_a_command_is_one_it_takes() -> None:
    group: Any = typer.main.get_command(app)
    for command in group.commands.values():
        for line in re.findall(r"^  (ablate .*?)(?:  .*)?$", command.help, re.MULTILINE):
            [words] = commands(line)
            check(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_sentence_names_is_one_with_these_options(page: Path) -> None:
    group: Any = typer.main.get_command(app)
    for line in re.findall(r"(?<!`)`ablate ([a-z][^`]*)`", page.read_text(encoding="utf-8")):
        name, *words = shlex.split(line)
        options = {word for param in group.commands[name].params for word in param.opts}
        assert [word for word in words if word[0] == "-" and word not in options] == [], line


STUDIES = [
    block for block in blocks("yaml") if not block.unrun and block.page.stem not in INSTALLED
]


@pytest.mark.parametrize("block", STUDIES, ids=str)
def test_every_study_and_profile_is_read(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not say what it extends is a part of a study; files that it names are there."""
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path))
    for number, text in enumerate(block.text.split("---\n")):
        written = yaml.safe_load(text)
        path = tmp_path / f"{number}.yaml"
        if written.keys() <= {*Clusters.model_fields}:
            path.write_text(text)
            monkeypatch.setenv("ABLATE_CLUSTERS", str(path))
            assert profile(Infra())
            continue
        assert written.keys() <= {"extends", *Written.model_fields}
        make_files(written, tmp_path)
        path.write_text(text if "extends" in written else f"extends: micro/smoke\n{text}")
        load_study(str(path))


def make_files(written: Any, folder: Path) -> None:
    """Empty files and folders where a study says that its conversations and images are."""
    if isinstance(written, dict):
        for key, value in written.items():
            make_files(value, folder)
            if key == "conversations" and isinstance(value, str) and "$" not in value:
                (folder / value).touch()
            if key == "images" and isinstance(value, str):
                (folder / value).mkdir(exist_ok=True)


def test_every_example_of_what_may_be_added_is_one_that_tests_install() -> None:
    pages = [page for page in PAGES if page.parent.name == "extending"]
    for block in blocks("python", "html", pages=pages):
        known = block.page.stem in INSTALLED or EXAMPLES.get(str(block.file)) is not None
        assert known, f"{block} belongs into tests/toys/doc_examples.py"


def test_every_entry_point_is_of_a_group_that_the_overview_has() -> None:
    overview = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    for block in blocks("toml"):
        [groups] = tomllib.loads(block.text)["project"].values()
        assert [group for group in groups if f"`{group}`" not in overview] == []


def test_every_piece_of_data_is_read() -> None:
    for block in blocks("json", "csv"):
        if block.language == "json":
            assert json.loads(block.text), str(block)
        else:
            head, *rows = csv.reader(block.text.splitlines())
            assert {len(row) for row in rows} == {len(head)}, str(block)
