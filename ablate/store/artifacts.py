"""The store: what every finished step left, seen whole or not at all.

    store/<kind>/<dirname>/       spec.json record.json manifest.json metrics.jsonl and the payload
    work/<kind>/<N>/<dirname>/    a step in the making, in the hands of the N-th owner of its lease
    failed/<kind>/<dirname>/      record.json and spec.json of a step that failed
    leases/, logs/                who does a step now; what it printed, attempt by attempt
    quarantine/                   artifacts whose checksum no longer holds

A step is committed by one rename of its work folder, after every file in it is on the disk and
listed with its size and sha256. A rename also takes the folder from an owner that died, or seems
to have. Of two renames of one folder the file server lets one through, however old the listings
are that its clients see: so no owner can commit what another has taken over, and none needs a lock.
Nothing here imports torch.
"""

import contextlib
import errno
import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.files import (
    NO_FILE,
    as_made,
    flush,
    private,
    read_checked,
    remove_temporary,
    retry_transient,
    sha256_file,
    with_checksum,
    write_atomic,
    write_json,
)
from ablate.home import Home
from ablate.store.lease import Holding, Lease, LeaseLostError, Watch, look
from ablate.store.steps import Step

MANIFEST, RECORD = "manifest.json", "record.json"
Record = Mapping[str, Any] | None
"""A step's record where it has been read, so that it is not read again."""
NOBODY = 0
"""In place of an owner's number: who made what is there has put it down."""


class BadArtifactError(UserError):
    """An artifact that is not what was committed; it has been set aside."""


class Store:
    """The results below one folder. Cheap to make; holds no lock and no open file."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._at = Home(home)
        self._artifacts = str(self._at.store)
        self.watch = Watch()
        self._whole: set[str] = set()

    def folder(self, step: Step) -> Path:
        """Where the step's artifact lies once it is committed."""
        return Path(f"{self._artifacts}/{step.kind}/{step.dirname}")

    def file(self, step: Step, name: str) -> str:
        """Where a file of the artifact lies; as text, for a look at ten thousand of them."""
        return f"{self._artifacts}/{step.kind}/{step.dirname}/{name}"

    def attempt(self, step: Step, owner: int) -> Path:
        """Where the owner of this number makes the step."""
        return self._at.work / step.kind / str(owner) / step.dirname

    def work(self, step: Step) -> Path:
        """Where the step is being made, or was when it was last tried."""
        holding = look(self.leases(step))
        tried = range(holding.number if holding else 0, 0, -1)
        folders = (self.attempt(step, number) for number in tried)
        return next(filter(Path.is_dir, folders), self.attempt(step, NOBODY))

    def prefix(self, step: Step) -> Path:
        """What a smaller share of the step leaves for a larger one, whatever the shares are."""
        return self._at.prefixes / step.kind / step.whole.dirname

    def leases(self, step: Step) -> Path:
        """The step's lease (see `ablate.store.lease`)."""
        return self._at.leases / step.kind / step.dirname

    def logs(self, step: Step) -> Path:
        """The folder of `attempt-N.log`, what the step printed."""
        return self._at.logs_of(step.name, step.dirname)

    def failed(self, step: Step) -> Path:
        """Where the record of the step's last failure is, if there was one."""
        return self._at.failed / step.kind / step.dirname

    def record(self, step: Step) -> dict[str, Any] | None:
        """The record of a committed step, or None."""
        return _record(self.file(step, RECORD), step)

    def failure(self, step: Step) -> dict[str, Any] | None:
        """The record of the step's last failure, or None; a success takes it away."""
        return _record(str(self.failed(step) / RECORD), step)

    def progress(self, step: Step) -> Holding | None:
        """How far a step is that someone works on now, or None."""
        holding = look(self.leases(step))
        running = holding and not holding.released and holding.owner
        return holding if running and running.runs() is not False else None

    def sound(self, step: Step, up_to: float = 0, record: Record = None) -> bool:
        """Whether a committed artifact is whole: sizes, and the sha256 of what is `up_to` so large.

        One that is not is set aside, so that the step counts as never done.
        """
        problem = self._problem(step, up_to, record)
        if problem:
            self.set_aside(step)
        return problem is None

    def verified(self, step: Step, record: Record = None) -> Path:
        """The step's folder, every checksum in it checked once by this process.

        Raises BadArtifactError, after setting the artifact aside, if one does not hold.
        """
        if step.key not in self._whole:
            problem = self._problem(step, math.inf, record)
            if problem:
                aside = self.set_aside(step)
                now = f"moved to {aside}" if aside else "it is gone"
                raise BadArtifactError(
                    f"{step.kind} {step.dirname}: {problem}; {now}, will be made again"
                )
            self._whole.add(step.key)
        return self.folder(step)

    def set_aside(self, step: Step) -> Path | None:
        """Move a committed artifact to the quarantine; its place there, None if it is gone."""
        aside = self._at.quarantine / step.kind
        aside.mkdir(parents=True, exist_ok=True)
        self._whole.discard(step.key)
        for number in range(1, 1000):
            target = aside / f"{step.dirname}.{number}"
            if target.exists():
                continue
            try:
                _move(self.folder(step), target)
            except FileNotFoundError:
                return None
            return target
        raise UserError(f"{aside} is full of bad copies of {step.dirname}: check the disk")

    def committed(self, step: Step) -> bool:
        """Whether the step is done, asked of the file server: `record` may see what was so before.

        No cache answers for a folder that is to be made.
        """
        folder = self.folder(step)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir()
        except FileExistsError:
            return self.record(step) is not None
        with contextlib.suppress(OSError):  # someone has just committed it
            folder.rmdir()
        return False

    def begin(self, step: Step, lease: Lease) -> bool:
        """Take over the folder to make the step in; False if the step turns out to be committed.

        Earlier owners find it gone and cannot commit any more. The token tells it from a folder
        that one of them might make anew under the same name.
        """
        mine = self.attempt(step, lease.number)
        shutil.rmtree(mine, ignore_errors=True)  # not from any owner of this lease
        with _ours():
            mine.parent.mkdir(parents=True, exist_ok=True)
            for number in (NOBODY, *range(lease.number - 1, NOBODY, -1)):
                left = self.attempt(step, number)
                left.mkdir(parents=True, exist_ok=True)  # so that no cache says it is not there
                left.rename(mine)
                if any(mine.iterdir()):
                    break
            if self.committed(step):
                shutil.rmtree(mine, ignore_errors=True)
                shutil.rmtree(lease.folder, ignore_errors=True)
                return False
            for token in mine.glob(".owner-*"):
                token.unlink(missing_ok=True)
            remove_temporary(mine)
            (mine / lease.token).touch()
        return True

    def commit(self, step: Step, record: dict[str, Any], lease: Lease | None = None) -> None:
        """Make the work folder the artifact, in one rename, once all of it is on the disk.

        `lease`: whose folder; None: nobody's. Raises LeaseLostError if another has taken it over.
        """
        work = self.attempt(step, lease.number if lease else NOBODY)
        _write(work / "spec.json", self._spec(step))
        _write(work / RECORD, with_checksum(record))
        (work / MANIFEST).unlink(missing_ok=True)
        paths = sorted(path for path in work.rglob("*") if path.is_file())
        paths = [path for path in paths if not lease or path.name != lease.token]
        folders = [Path(folder) for folder, _, _ in os.walk(work)]
        for path in paths:
            as_made(path)
        with ThreadPoolExecutor(8) as pool:  # the disk takes many flushes in the time of one
            files = dict(pool.map(lambda path: _entry(path, work), paths))
            _write(work / MANIFEST, with_checksum({"key": step.key, "files": files}))
            list(pool.map(flush, [*paths, work / MANIFEST, *folders]))
        self._publish(step, work, lease)
        self._whole.add(step.key)

    def recover(self, step: Step, lease: Lease | None = None) -> bool:
        """Commit a work folder that was complete when its worker died; whether there was one."""
        work = self.attempt(step, lease.number if lease else NOBODY)
        if not (work / MANIFEST).exists():
            return False
        with _ours():
            if _mismatch(str(work), step, math.inf) is None:
                self._publish(step, work, lease)
                return True
            (work / MANIFEST).unlink()
        return False

    def put_down(self, step: Step, lease: Lease) -> None:
        """Leave the work folder to the next attempt. Raises LeaseLostError where it is not ours."""
        work, free = self.attempt(step, lease.number), self.attempt(step, NOBODY)
        free.parent.mkdir(parents=True, exist_ok=True)
        with _ours():
            (work / lease.token).unlink()
            work.rename(free)

    def require_room(self) -> None:
        """Raise OSError unless a MiB can be written: few libraries say that the disk was full."""
        probe = self.home / ".probe"
        write_atomic(probe, bytes(2**20))
        probe.unlink(missing_ok=True)

    def fail(self, step: Step, record: dict[str, Any]) -> None:
        """Keep the record of a failure; the work folder stays for the next attempt."""
        write_json(self.failed(step) / "spec.json", self._spec(step))
        write_json(self.failed(step) / RECORD, with_checksum(record))

    def keep_log(self, step: Step, text: str) -> None:
        """Keep what a process printed that never came to the step, or died in it: `job-N.log`.

        It is `private`: it may hold what the user's own set-up lines print.
        """
        self.logs(step).mkdir(parents=True, exist_ok=True)
        kept = self.logs(step) / f"job-{1 + len(list(self.logs(step).glob('job-*.log')))}.log"
        kept.touch(mode=private())
        kept.write_text(text, encoding="utf-8")

    def failing(self) -> set[str]:
        """The names of the folders of all steps whose last attempt failed, in one look."""
        return {path.name for path in self._at.failed.glob("*/*")}

    def begun(self) -> set[str]:
        """The names of the folders of all steps that were begun and are not done, in one look."""
        return {path.name for path in self._at.leases.glob("*/*")}

    def forgive(self, step: Step) -> None:
        """Forget that the step failed, so that it is tried again."""
        shutil.rmtree(self.failed(step), ignore_errors=True)

    def _spec(self, step: Step) -> dict[str, Any]:
        parents = {
            role: {"kind": parent.kind, "key": parent.key, "dirname": parent.dirname}
            for role, parent in step.parents.items()
        }
        return {"kind": step.kind, "key": step.key, "spec": step.spec, "parents": parents}

    def _problem(self, step: Step, up_to: float, record: Record = None) -> str | None:
        """What is wrong with an artifact (see `sound`)."""
        if (record or self.record(step)) is None and not self.committed(step):
            return "its record cannot be read"
        return _mismatch(str(self.folder(step)), step, up_to)

    def _publish(self, step: Step, work: Path, lease: Lease | None) -> None:
        target = self.folder(step)
        target.parent.mkdir(parents=True, exist_ok=True)
        manifest = read_checked(work / MANIFEST)
        try:
            if lease:
                (work / lease.token).unlink()
            _move(work, target)
        except FileNotFoundError:
            if (
                read_checked(target / MANIFEST) != manifest
            ):  # else it was ours, and the answer got lost
                raise LeaseLostError from None
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            if self._problem(step, math.inf) is None:  # another was first, with the same
                shutil.rmtree(work, ignore_errors=True)
            else:
                self.set_aside(step)
                _move(work, target)
        flush(target.parent)
        shutil.rmtree(self.failed(step), ignore_errors=True)
        shutil.rmtree(self.leases(step), ignore_errors=True)


def _move(folder: Path, target: Path) -> None:
    """Make the folder `target` in one rename. Where that is on another disk, a copy of it is made
    beside `target` first."""
    try:
        folder.rename(target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=".moving-"))
    try:
        copy = Path(shutil.copytree(folder, beside / target.name))
        for path in (*copy.rglob("*"), copy):
            flush(path)
        copy.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ours() -> Iterator[None]:
    """What goes or comes under our hands, where only we should be, another has taken over."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY}:
            raise
        raise LeaseLostError from None


def _mismatch(folder: str, step: Step, up_to: float) -> str | None:
    """The first file that is not as the step's manifest says, in words.

    The content of files of more than `up_to` bytes is not looked at.
    """
    manifest = read_checked(f"{folder}/{MANIFEST}")
    if manifest is None or manifest["key"] != step.key:
        return f"{MANIFEST} is damaged"
    for name, entry in manifest["files"].items():
        path = f"{folder}/{name}"
        try:
            status = retry_transient(partial(os.stat, path))
        except NO_FILE:
            return f"{name} is missing"
        if not stat.S_ISREG(status.st_mode):
            return f"{name} is no file"
        size = status.st_size
        if size != entry["size"]:
            return f"{name} has {size} bytes, not {entry['size']}"
        if size <= up_to and sha256_file(path) != entry["sha256"]:
            return f"the checksum of {name} does not hold"
    return None


def _entry(path: Path, work: Path) -> tuple[str, dict[str, Any]]:
    """A file's line in the manifest."""
    size = {"size": path.stat().st_size, "sha256": sha256_file(path)}
    return path.relative_to(work).as_posix(), size


def _record(path: str, step: Step) -> dict[str, Any] | None:
    """The step's record in a file; None if there is none, or not one that is whole."""
    record = read_checked(path)
    return record if record is not None and record["key"] == step.key else None


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(
        json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
    )
