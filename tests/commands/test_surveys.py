"""A command looks at each part of the store once."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from in_process import ablate, faked

from ablate.config.study import Study
from ablate.driver.scheduler import drive

COUNTING = """
import sys
from ablate.__main__ import main

home, seen = sys.argv.pop(1), []

def hear(event, args):
    if event in ("open", "os.scandir", "os.listdir") and str(args[0]).startswith(home):
        seen.append(f"{event} {str(args[0])[len(home) + 1:]}")

sys.addaudithook(hear)
try:
    main()
finally:
    print("LOOKS", *seen, sep="\\n", file=sys.stderr)
"""
PARTS = ("store/", "leases", "failed", "remembered/")


def looks(home: Path, *words: str) -> Counter[str]:
    """How often a command opens each file and lists each folder of a home's."""
    line = [sys.executable, "-c", COUNTING, str(home), *words]
    env = {**os.environ, "ABLATE_HOME": str(home)}
    done = subprocess.run(line, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = done.stderr.partition("LOOKS\n")[2].splitlines()
    return Counter(one for one in told if one.partition(" ")[2].startswith(PARTS))


@pytest.mark.parametrize(
    "words",
    [("status",), ("status", "--watch"), ("plan",), ("table",), ("report",)],
    ids=" ".join,
)
def test_a_command_that_reads_looks_once_at_each_folder_and_record(
    small: Study, fakes: Mapping[str, str], own_home: Path, words: tuple[str, ...]
) -> None:
    """What is open of a study, too: of its second round nothing is done."""
    command, *options = words
    drive(small, None if options else 1, "inline", home=own_home, executors=fakes)
    of = [command, "micro/smoke", "--set", "seeds=[0]", *options]
    assert ablate(*of).code == 0  # what is remembered of artifacts is of their first reader
    seen = looks(own_home, *of)
    assert seen
    twice = {what for what, count in seen.items() if count > 1 and "metrics" not in what}
    assert twice == set()


def test_a_run_lists_each_artifact_once_and_reads_what_is_remembered_once(
    small: Study, fakes: Mapping[str, str], own_home: Path
) -> None:
    drive(small, backend="inline", home=own_home, executors=fakes)
    of = ["run", "micro/smoke", "--set", "seeds=[0]", "--backend", "inline"]
    with faked(fakes):
        assert ablate(*of).code == 0
    seen = looks(own_home, *of)
    listed = {what: count for what, count in seen.items() if what.startswith("os.")}
    assert len(listed) >= 12
    assert set(listed.values()) == {1}
    assert {count for what, count in seen.items() if "remembered/" in what} == {1}
