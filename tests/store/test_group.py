"""Two users of one group share a home, each with a umask that lets the group write; or only read.

They are user ids that exist nowhere, which only root can be: elsewhere these tests are skipped.
"""

import os
import shutil
import stat
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import core_fakes
import pytest
from in_process import Answer, ablate, faked

from ablate.commands import report as reporting
from ablate.files import atomic_file, private, write_json
from ablate.worker.context import StepContext

GROUP, FIRST, SECOND = 64100, 64101, 64102
STUDY = ("micro/smoke", "--set", "seeds=[0]")
RUN = ("run", *STUDY, "--backend", "inline")
LOGS = ("logs", "pretrain/clip-micro@32.")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")


def by(user: int, *words: str, umask: int = 0o002, **executors: Any) -> Answer:
    """What comes of a command of this user, in a copy of this process."""
    hears, tells = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(GROUP, GROUP, GROUP)
            os.setresuid(user, user, user)
            os.umask(umask)
            if words[0] == "run":
                reporting.build = lambda result: None  # reports are built by `report`
            with faked({**core_fakes.EXECUTORS, **executors}):
                said = ablate(*words)
            os.write(tells, "\0".join((str(said.code), said.out, said.err)).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(tells)
    with os.fdopen(hears, encoding="utf-8") as file:
        code, out, err = file.read().split("\0")
    os.waitpid(child, 0)
    return Answer(int(code), out, err)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All that the commands import is there, as other users may not read the interpreter's own."""
    with pytest.MonkeyPatch.context() as patch, faked(core_fakes.EXECUTORS):
        patch.setenv("ABLATE_HOME", str(tmp_path_factory.mktemp("imported") / "home"))
        for words in (RUN, ("status", *STUDY), ("report", *STUDY), ("table", *STUDY), LOGS):
            assert ablate(*words).code == 0


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch, imported: None) -> Iterator[Path]:
    """A home that the group owns, in a folder of which others may read and write."""
    folder = Path(tempfile.mkdtemp(prefix="ablate-group-"))
    folder.chmod(0o777)
    home = folder / "home"
    home.mkdir()
    os.chown(home, FIRST, GROUP)
    home.chmod(0o2775)
    monkeypatch.setenv("ABLATE_HOME", str(home))
    monkeypatch.chdir(folder)
    yield home
    shutil.rmtree(folder)


def stop(ctx: StepContext) -> None:
    print("trained a little")
    raise KeyboardInterrupt


@as_root
def test_what_one_begins_another_ends_and_both_see_all_of_it(shared: Path) -> None:
    assert by(FIRST, *RUN, finetune=stop).code == 130
    assert by(SECOND, *RUN).code == 0
    for user in (FIRST, SECOND, FIRST):
        assert "12 of 12 steps done" in by(user, "status", *STUDY).out
        said = by(user, "report", *STUDY)
        assert (said.code, Path(said.out.strip()).is_relative_to(shared)) == (0, True)
        assert "trained" in by(user, *LOGS).out
    for path in shared.rglob("*"):
        mode = path.stat().st_mode
        assert mode & stat.S_IRGRP, path
        assert mode & stat.S_IWGRP, path
        assert not (path.parts[-3] == "logs" and mode & stat.S_IRWXO), path


@as_root
def test_a_step_that_another_begins_anew_has_a_log_of_its_own(shared: Path) -> None:
    assert by(FIRST, *RUN, umask=0o022).code == 0
    for folder in [shared, *(path for path in shared.rglob("*") if path.is_dir())]:
        folder.chmod(0o2777)  # a group that was let in later
    (shared / "executed.log").chmod(0o666)  # the fakes' own
    (folder,) = shared.glob("store/evaluate/*pix2struct*")
    shutil.rmtree(folder)
    assert by(SECOND, *RUN).code == 0
    (name,) = {path.parent.name for path in shared.glob("logs/evaluate*pix2*/*")}
    logs = {path.name: path.stat().st_uid for path in (shared / "logs" / name).iterdir()}
    assert logs.pop("attempt-1.log") == SECOND
    assert list(logs.values()) == [FIRST]


@as_root
def test_who_may_only_read_a_home_reads_it(shared: Path) -> None:
    assert by(FIRST, *RUN, umask=0o022).code == 0
    assert "12 of 12 steps done" in by(SECOND, "status", *STUDY).out
    assert by(SECOND, "table", *STUDY).code == 0
    assert by(FIRST, "report", *STUDY, umask=0o022).code == 0
    said = by(SECOND, "report", *STUDY)
    assert said.out.startswith(str(shared.parent / "ablate-reports"))
    assert f"the report goes to {shared.parent / 'ablate-reports'}" in said.err
    said = by(SECOND, *LOGS)
    assert said.code == 2
    assert said.err.startswith(f"ablate: cannot read {shared}/logs/pretrain-")
    assert "it is for another user alone" in said.err


@pytest.mark.parametrize(
    ("umask", "result", "log"),
    [(0o022, 0o644, 0o600), (0o002, 0o664, 0o660), (0o077, 0o600, 0o600)],
)
def test_files_have_the_mode_that_the_umask_lets_them_have(
    tmp_path: Path, umask: int, result: int, log: int
) -> None:
    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", {})
        with atomic_file(tmp_path / "b") as draft:  # as safetensors does
            draft.unlink()
            draft.touch(mode=0o600)
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {result}
        assert private() == log
    finally:
        os.umask(before)
