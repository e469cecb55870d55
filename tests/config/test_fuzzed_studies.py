"""Any study is refused in one line, or planned and run to its table, inside its store.

ABLATE_FUZZ=N tries N times as many cases as usual.
"""

import copy
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import core_fakes
import pytest
import yaml
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from in_process import ablate, faked

from ablate.commands import report as reporting
from ablate.config.study import STUDIES_DIR

CASES = 300 * int(os.environ.get("ABLATE_FUZZ", "1"))
BASE = yaml.safe_load((STUDIES_DIR / "micro" / "base.yaml").read_text()) | {
    "title": "t",
    "question": "?",
}
ROUNDS = BASE | {"explore": {"kind": "rounds", "pool": ["sam-micro@128"], "rounds": 2}}
ARMS = BASE | {
    "explore": {
        "kind": "arms",
        "axis": "fusion",
        "arms": [
            {"name": "as it is"},
            {"name": "other", "set": {"fusion.name": "llava_hr"}},
            {"name": "less", "set": {"fusion.grid": [2, 2], "recipe.prealign": None}},
            {
                "name": "more",
                "set": {
                    "recipe.again": {
                        **{"kind": "pretrain", "after": "pretrain", "data": "pairs"},
                        **{"steps": 2, "batch_size": 2, "train": {"projector": 1e-3}},
                    }
                },
            },
        ],
    }
}
MOST = 24
"""Steps of a study up to which it is run."""

WORDS = st.sampled_from(
    [
        *(
            "",
            "a",
            "../../..",
            "/etc/passwd",
            "..",
            ".",
            "a/b",
            "\x00",
            "\n",
            "é" * 300,
            "x" * 9000,
        ),
        *("clip-micro@32", "clip-micro@-1", "clip-micro@99999999999", "sam-micro", "@", "null"),
        *("base", "kind", "name", "set", "*a", "<<", "{}", "1e999", "0x10", "01", "-", "~", "on"),
        *("llama-micro", "micro", "micro-smoke", "channel_concat", "llava_hr", "$ABLATE_DATA/x"),
        *(
            "\U0001f600",
            "\u202e",
            "a\u0000b",
            "%s%n",
            "$(reboot)",
            "[bold]",
            "</td>",
            "\\",
            "'",
            '"',
        ),
    ]
)
NUMBERS = st.sampled_from(
    [0, -1, 1, 2, 3, 2**31, 2**63, 2**64, 10**30, 0.0, -0.0, 1e-300, 1e300, 0.5, 1.5]
) | st.floats(allow_nan=True, allow_infinity=True)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value below `tree`."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, child in inside:
        yield (*path, key)
        if isinstance(child, dict | list):
            yield from places(child, (*path, key))


def mutate(tree: Any, data: st.DataObject) -> None:
    """Change, take away, add or copy one thing anywhere."""
    found = list(places(tree))
    path = data.draw(st.sampled_from(found))
    inside = tree
    for part in path[:-1]:
        inside = inside[part]
    match data.draw(st.sampled_from(["change", "drop", "add", "copy", "nudge"])):
        case "change":
            inside[path[-1]] = data.draw(VALUES)
        case "drop":
            del inside[path[-1]]
        case "add" if isinstance(inside, dict):
            inside[data.draw(WORDS)] = data.draw(VALUES)
        case "copy":
            value: Any = tree
            for part in data.draw(st.sampled_from(found)):
                value = value[part] if isinstance(value, dict | list) else value
            inside[path[-1]] = copy.deepcopy(value)
        case _ if type(inside[path[-1]]) in {int, float}:
            inside[path[-1]] = data.draw(NUMBERS)


def spoil(text: str, data: st.DataObject) -> str:
    """A slip of the editor: lines twice, gone, or moved in; an odd character."""
    lines = text.splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    match data.draw(st.sampled_from(["none", "none", "twice", "gone", "indent", "insert"])):
        case "twice":
            lines.insert(at, lines[at])
        case "gone":
            del lines[at]
        case "indent":
            lines[at] = "  " + lines[at]
        case "insert":
            odd = st.sampled_from(
                ["&a ", "*a ", "!!python/object:os.system ", "\t", "? ", "%", "---\n"]
            )
            lines[at] = data.draw(odd) + lines[at]
    return "".join(lines)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in memory, where nothing is forced to a disk."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(reporting, "build", lambda study: folder)
    monkeypatch.setenv("ABLATE_HOME", str(folder / "home"))
    monkeypatch.setenv("ABLATE_DATA", str(folder / "data"))
    monkeypatch.chdir(folder)
    yield folder
    shutil.rmtree(folder)


def tried(folder: Path, *words: str) -> bool:
    """Whether the study is one. If so, it was run to its table; if not, one line said why."""
    code, out, err = ablate("plan", *words)
    if code:
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        assert err.startswith("ablate: "), err
        assert len(err) < 2000, err
        return False
    steps = int(re.findall(r"^\d+ candidates, (\d+) steps", out, re.MULTILINE)[0])
    if steps <= MOST:
        with faked(core_fakes.EXECUTORS):
            code, out, err = ablate("run", *words, "--backend", "inline")
        last = err.splitlines()[-1] if err else ""
        assert code == 0 or (code == 2 and last.startswith("ablate: ")), err
        assert ablate("table", *words)[0] in {0, 2 * bool(code)}
    return True


def strangers(folder: Path) -> set[str]:
    """What lies in the folder and should not."""
    ours = {"home", "data", "study.yaml", "under.yaml"}
    return {path.name for path in folder.iterdir()} - ours


def cases(number: int) -> settings:
    """So many cases, as they come."""
    checks = list(HealthCheck)
    return settings(max_examples=number, phases=(Phase.generate,), suppress_health_check=checks)


@cases(CASES // 5)
@given(data=st.data())
def test_a_fuzzed_study_is_refused_in_a_line_or_run_to_its_table(
    folder: Path, data: st.DataObject
) -> None:
    fuzz(folder, data)


@pytest.mark.slow
@cases(CASES - CASES // 5)
@given(data=st.data())
def test_many_fuzzed_studies_are_refused_in_a_line_or_run_to_their_tables(
    folder: Path, data: st.DataObject
) -> None:
    fuzz(folder, data)


def fuzz(folder: Path, data: st.DataObject) -> None:
    """Write a study with a few things wrong, and try it."""
    tree = copy.deepcopy(data.draw(st.sampled_from([ROUNDS, ARMS])))
    under: dict[str, Any] = {}
    if data.draw(st.booleans()):
        under = {key: tree.pop(key) for key in data.draw(st.sets(st.sampled_from(list(BASE))))}
        tree["extends"] = "under.yaml"
    for part in (tree, under):
        for _ in range(data.draw(st.sampled_from([0, 1, 1, 2]))):
            if part:
                mutate(part, data)
    text = yaml.safe_dump(tree, allow_unicode=data.draw(st.booleans()), sort_keys=False)
    shutil.rmtree(folder / "home", ignore_errors=True)
    (folder / "under.yaml").write_text(yaml.safe_dump(under))
    (folder / "study.yaml").write_text(spoil(text, data))
    sets = data.draw(st.lists(overrides(tree), max_size=2))
    words = [word for one in sets for word in ("--set", one)]
    event("a study" if tried(folder, "study.yaml", *words) else "refused")
    assert not strangers(folder)


def overrides(tree: Any) -> st.SearchStrategy[str]:
    """What may follow `--set`."""
    keys = [".".join(map(str, path)) for path in places(tree)]
    values = VALUES.map(lambda value: yaml.safe_dump(value, default_flow_style=True))
    key = st.sampled_from(keys) | WORDS
    return st.builds("{}={}".format, key, values | WORDS).filter(lambda text: "\x00" not in text)


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
HOSTILE: dict[str, Callable[[], str]] = {
    "a bomb of aliases": lambda: BOMB,
    "an alias of itself": lambda: "a: &a [*a]\n",
    "deep brackets": lambda: "a: " + "[" * 100_000,
    "deep mappings": lambda: "a: " + "{a: " * 100_000,
    "deep lines": lambda: "".join(" " * n + "a:\n" for n in range(3000)),
    "a long word": lambda: "title: " + "x" * 5_000_000,
    "many keys": lambda: "".join(f"k{n}: {n}\n" for n in range(50_000)),
    "a long number": lambda: "seeds: [" + "9" * 100_000 + "]",
    "two documents": lambda: "a: 1\n---\nb: 2\n",
    "code": lambda: "a: !!python/object/apply:os.system ['touch stranger']\n",
    "itself": lambda: "extends: study.yaml\n",
    "a device": lambda: "extends: /dev/zero\n",
    "above": lambda: "extends: ../../../../etc/passwd\n",
    "half a character": lambda: 'title: "\\ud800"\nextends: micro/rounds\n',
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.timeout(20)
def test_a_hostile_file_is_one_line_and_soon(folder: Path, what: str) -> None:
    (folder / "study.yaml").write_text(HOSTILE[what](), encoding="utf-8", errors="surrogatepass")
    assert not tried(folder, "study.yaml")
    assert not strangers(folder)


@pytest.mark.parametrize(
    "name", ["..yaml", "....yaml", "-.yaml", "a b;c.yaml", "é.yaml", "$HOME.yaml"]
)
def test_the_name_of_a_file_keeps_its_results_in_the_store(folder: Path, name: str) -> None:
    (folder / name).write_text("extends: micro/smoke\nseeds: [0]\nexplore: {rounds: 1}\n")
    assert tried(folder, f"./{name}")
    assert strangers(folder) == {name}
    studies = {path.parent.parent for path in folder.glob("home/studies/**/decisions/*.json")}
    assert {path.parent for path in studies} == {folder / "home" / "studies"}


@pytest.mark.parametrize("links", [2, 3000])
def test_a_long_chain_of_extends_is_followed_or_refused(folder: Path, links: int) -> None:
    (folder / "s0.yaml").write_text("extends: micro/smoke\nseeds: [0]\n")
    for n in range(1, links):
        (folder / f"s{n}.yaml").write_text(f"extends: s{n - 1}.yaml\n")
    assert tried(folder, f"s{links - 1}.yaml") == (links == 2)
