"""What was read before is taken for true only while its files stay: no table or status is stale."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import core_fakes
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_process import ablate

from ablate.config.study import load_study
from ablate.driver.scheduler import drive
from ablate.files import read_checked, with_checksum, write_json
from ablate.store.read_cache import ReadCache, folder_signature

STUDY = ("micro/smoke", "--set", "seeds=[0]")


def never() -> str:
    raise AssertionError("it was known")


def test_a_reading_is_read_once_while_what_it_was_made_of_stays(tmp_path: Path) -> None:
    first = ReadCache(tmp_path / "a" / "b.json", of="words")
    assert first.get("x", [1], lambda: "one") == "one"
    assert first.get("x", [1], never) == "one"
    first.keep()
    later = ReadCache(tmp_path / "a" / "b.json", of="words")
    assert later.get("x", [1], never) == "one"
    assert later.get("x", [2], lambda: "two") == "two"
    assert ReadCache(tmp_path / "a" / "b.json", of="numbers").get("x", [1], lambda: 3) == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_readings_that_are_damaged_count_as_none(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "b.json"
    known = ReadCache(path, of="words")
    known.get("x", [1], lambda: "one")
    known.keep()
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    damaged = content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
    path.write_bytes(data.draw(st.sampled_from([damaged, content[:at]])))
    assert ReadCache(path, of="words").get("x", [1], lambda: "anew") == "anew"


def test_readings_that_cannot_be_written_are_read_again(tmp_path: Path) -> None:
    (tmp_path / "b.json").mkdir()
    known = ReadCache(tmp_path / "b.json", of="words")
    assert known.get("x", [1], lambda: "one") == "one"
    known.keep()
    assert ReadCache(tmp_path / "b.json", of="words").get("x", [1], lambda: "two") == "two"


def flip(path: Path) -> None:
    """Another byte in the middle, and the old time of change put back."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_byte_that_changes_in_a_file_of_any_depth_is_in_its_signature(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c.txt"
    deep.parent.mkdir(parents=True)
    deep.write_text("once upon a time")
    before = folder_signature(str(tmp_path))
    assert folder_signature(str(tmp_path)) == before
    flip(deep)
    assert folder_signature(str(tmp_path)) != before


def answers(home: Path) -> list[Path]:
    return sorted(home.glob("store/evaluate/*/answers.jsonl"))


def swap(home: Path) -> None:
    """Two artifacts change places."""
    first, second, *_ = (path.parent for path in answers(home))
    first.rename(home / "aside")
    second.rename(first)
    (home / "aside").rename(second)


def scored_otherwise(home: Path) -> None:
    """A record is a twin's, as a careless copy makes it."""
    first, second, *_ = (path.with_name("record.json") for path in answers(home))
    shutil.copyfile(second, first)


def answered_otherwise(home: Path) -> None:
    """The answers are a twin's."""
    first, second, *_ = answers(home)
    shutil.copyfile(second, first)


def decided_otherwise(home: Path) -> None:
    path = next(home.glob("studies/**/round-2.json"))
    decision = read_checked(path)
    assert decision
    decision["winner"], decision["runner_up"] = decision["runner_up"], decision["winner"]
    write_json(path, with_checksum(decision))


CHANGES: dict[str, Callable[[Path], None]] = {
    "a byte of the answers": lambda home: flip(answers(home)[1]),
    "a byte of a record": lambda home: flip(answers(home)[1].with_name("record.json")),
    "a byte of a trained part": lambda home: flip(next(home.glob("store/finetune/*/weights.txt"))),
    "a record that is gone": lambda home: answers(home)[1].with_name("record.json").unlink(),
    "an artifact that is gone": lambda home: shutil.rmtree(answers(home)[1].parent),
    "a file more": lambda home: (answers(home)[1].parent / "more.txt").touch(),
    "artifacts that changed places": swap,
    "a record of another": scored_otherwise,
    "answers of another": answered_otherwise,
    "a decision": decided_otherwise,
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a study that is done."""
    home = tmp_path_factory.mktemp("done") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATE_HOME", str(home))
        study = load_study("micro/smoke", ["seeds=[0]"])
        drive(study, backend="inline", home=home, executors=core_fakes.EXECUTORS)
        yield home


def told() -> list[tuple[int, str]]:
    return [ablate(command, *STUDY, "--json")[:2] for command in ("status", "table", "plan")]


def test_what_was_read_before_is_told_again(done: Path, own_home: Path) -> None:
    shutil.copytree(done, own_home)
    before = told()
    name = load_study(STUDY[0], STUDY[2:]).id
    assert len(list(own_home.glob(f"remembered/*/{name}.json"))) == 2
    assert told() == before


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_in_a_store_is_seen_at_the_next_call(
    change: str, done: Path, own_home: Path
) -> None:
    shutil.copytree(done, own_home)
    before = told()
    CHANGES[change](own_home)
    warm = told()
    shutil.rmtree(own_home)
    shutil.copytree(done, own_home)
    CHANGES[change](own_home)
    assert warm == told()
    assert (warm == before) == (change == "a file more")


def test_what_stays_is_neither_hashed_nor_parsed_again(
    done: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(done, own_home)
    before = ablate("table", *STUDY, "--json")
    for costly in (
        "ablate.store.artifacts.sha256_file",
        "ablate.store.artifacts._record",
        "ablate.reports.cached_results.rows_in",
    ):
        monkeypatch.setattr(costly, lambda *given: never())
    assert ablate("table", *STUDY, "--json") == before
