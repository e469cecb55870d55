"""The store: what every finished step left, seen whole or not at all.

    store/<kind>/<dirname>/   spec.json record.json manifest.json metrics.jsonl and the payload
    work/<kind>/<dirname>/    a step in the making; survives its worker
    failed/<kind>/<dirname>/  record.json and spec.json of a step that failed
    leases/, logs/            who does a step now; what it printed, attempt by attempt
    quarantine/               artifacts whose checksum no longer holds

A step is committed by one rename of its work folder, after every file in it is on the disk and
listed with its size and sha256. Nothing here imports torch.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.files import read_json, sha256_file, write_json
from ablate.lease import Holding, Watch, look
from ablate.steps import Step, canonical

MANIFEST = "manifest.json"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class BadArtifactError(UserError):
    """An artifact that is not what was committed; it has been set aside."""


class Store:
    """The results below one folder. Cheap to make; holds no lock and no open file."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.watch = Watch()
        self._whole: set[str] = set()

    def folder(self, step: Step) -> Path:
        """Where the step's artifact lies once it is committed."""
        return self.home / "store" / step.kind / step.dirname

    def work(self, step: Step) -> Path:
        """Where the step is made."""
        return self.home / "work" / step.kind / step.dirname

    def leases(self, step: Step) -> Path:
        """The step's lease (see `ablate.lease`)."""
        return self.home / "leases" / step.kind / step.dirname

    def logs(self, step: Step) -> Path:
        """The folder of `attempt-N.log`, what the step printed."""
        return self.home / "logs" / f"{step.kind}-{step.dirname}"

    def record(self, step: Step) -> dict[str, Any] | None:
        """The record of a committed step, or None."""
        record = _read(self.folder(step) / "record.json")
        return record if record is not None and record.get("key") == step.key else None

    def failure(self, step: Step) -> dict[str, Any] | None:
        """The record of the step's last failure, or None; a success takes it away."""
        return _read(self._failed(step) / "record.json")

    def progress(self, step: Step) -> Holding | None:
        """How far a step is that someone works on now, or None."""
        holding = look(self.leases(step))
        running = holding and not holding.released and holding.owner
        return holding if running and running.runs() is not False else None

    def sound(self, step: Step, *, fully: bool = False) -> bool:
        """Whether a committed artifact is whole: sizes, and `fully` every sha256.

        One that is not is set aside, so that the step counts as never done.
        """
        problem = self._problem(step, fully)
        if problem:
            self.set_aside(step)
        return problem is None

    def verified(self, step: Step) -> Path:
        """The step's folder, every checksum in it checked once by this process.

        Raises BadArtifactError, after setting the artifact aside, if one does not hold.
        """
        if step.key not in self._whole:
            problem = self._problem(step, fully=True)
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
        aside = self.home / "quarantine" / step.kind
        aside.mkdir(parents=True, exist_ok=True)
        self._whole.discard(step.key)
        for number in range(1, 1000):
            target = aside / f"{step.dirname}.{number}"
            if target.exists():
                continue
            try:
                self.folder(step).rename(target)
            except FileNotFoundError:
                return None
            return target
        raise UserError(f"{aside} is full of bad copies of {step.dirname}: check the disk")

    def commit(self, step: Step, record: dict[str, Any]) -> None:
        """Make the work folder the artifact, in one rename, once all of it is on the disk."""
        work = self.work(step)
        _write(work / "spec.json", self._spec(step))
        _write(work / "record.json", record)
        (work / MANIFEST).unlink(missing_ok=True)
        paths = sorted(path for path in work.rglob("*") if path.is_file())
        folders = [Path(folder) for folder, _, _ in os.walk(work)]
        with ThreadPoolExecutor(8) as pool:  # the disk takes many flushes in the time of one
            files = dict(pool.map(lambda path: _entry(path, work), paths))
            _write(work / MANIFEST, _sealed(step, files))
            list(pool.map(_flush, [*paths, work / MANIFEST, *folders]))
        self._publish(step)
        self._whole.add(step.key)

    def recover(self, step: Step) -> bool:
        """Commit a work folder that was complete when its worker died; whether there was one."""
        manifest = self.work(step) / MANIFEST
        if not manifest.exists():
            return False
        if _mismatch(self.work(step), step, fully=True) is None:
            self._publish(step)
            return True
        manifest.unlink()
        return False

    def fail(self, step: Step, record: dict[str, Any]) -> None:
        """Keep the record of a failure; the work folder stays for the next attempt."""
        write_json(self._failed(step) / "spec.json", self._spec(step))
        write_json(self._failed(step) / "record.json", record)

    def failing(self) -> set[str]:
        """The names of the folders of all steps whose last attempt failed, in one look."""
        return {path.name for path in (self.home / "failed").glob("*/*")}

    def forgive(self, step: Step) -> None:
        """Forget that the step failed, so that it is tried again."""
        shutil.rmtree(self._failed(step), ignore_errors=True)

    def _failed(self, step: Step) -> Path:
        return self.home / "failed" / step.kind / step.dirname

    def _spec(self, step: Step) -> dict[str, Any]:
        parents = {
            role: {"kind": parent.kind, "key": parent.key, "dirname": parent.dirname}
            for role, parent in step.parents.items()
        }
        return {"kind": step.kind, "key": step.key, "spec": step.spec, "parents": parents}

    def _problem(self, step: Step, fully: bool) -> str | None:
        if self.record(step) is None:
            return "its record cannot be read"
        return _mismatch(self.folder(step), step, fully)

    def _publish(self, step: Step) -> None:
        target = self.folder(step)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.work(step).rename(target)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            if self._problem(step, fully=True) is None:  # another was first, with the same
                shutil.rmtree(self.work(step), ignore_errors=True)
            else:
                self.set_aside(step)
                self.work(step).rename(target)
        _flush(target.parent)
        shutil.rmtree(self._failed(step), ignore_errors=True)
        shutil.rmtree(self.leases(step), ignore_errors=True)


@contextmanager
def writing(home: Path) -> Iterator[None]:
    """A disk that is full or read-only as a UserError: nothing that is finished is lost."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL and not isinstance(error, PermissionError):
            raise
        raise UserError(
            f"cannot write below {home}: {error.strerror}; make room or choose another "
            "$ABLATE_HOME and start again, what is finished stays"
        ) from None


def _sealed(step: Step, files: dict[str, Any]) -> dict[str, Any]:
    """The manifest of these files, with a checksum of itself."""
    seal = hashlib.sha256(canonical([step.key, files]).encode()).hexdigest()
    return {"key": step.key, "files": files, "seal": seal}


def _mismatch(folder: Path, step: Step, fully: bool) -> str | None:
    """The first file that is not as the step's manifest says, in words."""
    manifest = _read(folder / MANIFEST)
    if manifest is None or manifest != _sealed(step, manifest.get("files", {})):
        return f"{MANIFEST} is damaged"
    for name, entry in manifest["files"].items():
        path = folder / name
        try:
            size = path.stat().st_size
        except OSError:
            return f"{name} is missing"
        if size != entry["size"]:
            return f"{name} has {size} bytes, not {entry['size']}"
        if fully and sha256_file(path) != entry["sha256"]:
            return f"the checksum of {name} does not hold"
    return None


def _entry(path: Path, work: Path) -> tuple[str, dict[str, Any]]:
    """A file's line in the manifest."""
    size = {"size": path.stat().st_size, "sha256": sha256_file(path)}
    return path.relative_to(work).as_posix(), size


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> dict[str, Any] | None:
    """The JSON object at `path`; None if there is none or it is not whole."""
    try:
        value = read_json(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(
        json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
    )
