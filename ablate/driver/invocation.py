"""The command that drives a study: said again in hints as it was typed, and kept in the store.

studies/<id>/driven.json    how the study was last driven, and what a driver that is a job died of
"""

import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ablate.catalog.launchers import DEFAULT
from ablate.files import UNREADABLE, read_json, write_json
from ablate.home import Home


@dataclass(frozen=True)
class Invocation:
    """What was typed of `ablate run` or another command: a study, its changes, ways to drive it.

    `last`: rounds 1 to it only; `jobs`: steps at once; None where that was not said.
    """

    study: str
    overrides: Sequence[str] = ()
    last: int | None = None
    jobs: int | None = None
    backend: str = DEFAULT
    detached: bool = False

    def as_shell(self, verb: str) -> str:
        """`ablate VERB` of the same study, for a shell; run and retry drive it in the same way."""
        words = ["ablate", verb, self.study]
        words += [word for change in self.overrides for word in ("--set", change)]
        if verb in ("run", "retry"):
            backend = None if self.backend == DEFAULT else self.backend
            ways = {"--round": self.last, "--backend": backend, "--jobs": self.jobs}
            given = {option: str(value) for option, value in ways.items() if value}
            words += [word for pair in given.items() for word in pair]
            words += ["--detach"] * self.detached
        return shlex.join(words)


@dataclass(frozen=True)
class LastRun:
    """How a study was last driven. `error`: what a driver that is a job died of, `log`: what it
    printed; `""` for one that did not, or had a terminal to say it on. `cancels`: what its user
    types to end it.
    """

    backend: str
    jobs: int | None
    detached: bool
    error: str = ""
    log: str = ""
    cancels: str = ""

    @classmethod
    def by(cls, command: Invocation, error: str = "", log: str = "") -> "LastRun":
        """Of a study that this command drives."""
        return cls(
            command.backend, command.jobs, command.detached, error, log, command.as_shell("cancel")
        )

    def write(self, home: Path, study: str) -> None:
        """Write it down for the study of that id."""
        write_json(_file(home, study), asdict(self))

    def again(self, command: Invocation) -> Invocation:
        """`command`, driving in this way."""
        return replace(command, backend=self.backend, jobs=self.jobs, detached=self.detached)


def last_driven(home: Path, study: str) -> LastRun:
    """How the study of that id was last driven; as by default where nobody knows."""
    with contextlib.suppress(*UNREADABLE):
        return LastRun(**read_json(_file(home, study)))
    return LastRun.by(Invocation(study))


def _file(home: Path, study: str) -> Path:
    return Home(home).study(study) / "driven.json"
