"""A study's candidates as trials in an Optuna storage, for `optuna-dashboard` and others to read.

The storage is a journal file (`optuna-dashboard studies/<id>/optuna.journal` opens it), which needs
no database, or for a strategy that Optuna leads the one that it names. It is brought up to what the
search knows: trials are added, and those that are at work go on. Where it holds other trials, as of
results that were thrown away, the Optuna study is made anew. One driver at a time writes. Optuna
itself is imported when there is something to write. Nothing is read back into the search, which
knows only the store: a storage that is lost is written again.
"""

import json
import math
import os
import re
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.config.study import Study
from ablate.errors import UserError
from ablate.files import UNREADABLE, write_atomic
from ablate.home import Home
from ablate.redaction import redact
from ablate.search.optuna_trials import ProposedTrials, Searched, Shown, Trials
from ablate.store.lease import Watch
from ablate.store.results import Lookup
from ablate.strategies import Round

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

JOURNAL = "optuna.journal"
WAIT = 10
"""Seconds that a database server may take to answer."""
REST = 30.0
"""Seconds until it is asked again, or another process for its place, after they said no."""


class TrialLog:
    """The trials of a study, in the journal below `home` or in the storage its strategy names.

    As long as another process of the home writes them, this one does not. To be closed.
    """

    def __init__(self, study: Study, home: Path, watch: Watch | None = None) -> None:
        self._study, self._folder = study, Home(home).study(study.id)
        self._watch, self._stack = watch or Watch(), ExitStack()
        view = study.strategy.view
        self._trials: Trials = ProposedTrials(study, view) if view else Searched(study)
        self.live = view is not None
        self._writer: _Writer | None = None
        self._written: list[Shown] | None = None
        self._rests_until = -math.inf

    def write(self, turns: Sequence[Round], lookup: Lookup) -> None:
        """Bring the storage up to these turns.

        Raises UserError where it cannot be reached, or holds what is none of this home's.
        """
        now, shown = time.monotonic(), self._trials.shown(turns, lookup)
        if shown == self._written or now < self._rests_until:
            return
        self._rests_until = now + REST
        if self._mine():
            with _one_line(self._trials.address):
                if self._writer is None:
                    self._writer = _Writer(self._trials, self._study, self._folder)
                self._writer.bring_up_to(shown)
            self._written, self._rests_until = shown, -math.inf

    @property
    def reached(self) -> bool:
        """Whether the storage was, once."""
        return self._writer is not None

    def close(self) -> None:
        """Let others write."""
        self._stack.close()

    def _mine(self) -> bool:
        """Whether this process is the one that writes, as it is from the first time on."""
        if self._writer is None:
            lease = self._watch.take(self._folder / "optuna.lease")
            if lease is None:
                return False
            self._stack.callback(lease.release)
            self._stack.enter_context(lease)
        return True


class _Writer:
    """Writes trials into one Optuna study."""

    def __init__(self, trials: Trials, study: Study, folder: Path) -> None:
        self._trials, self._study = trials, study
        self._journal = _Journal(folder / JOURNAL) if trials.address == "journal" else None
        self._storage = self._opened(folder)
        # Others write into a database, too: there a name has to be one of its own.
        self._name = study.name if self._journal else study.id
        self._mark = "" if self._journal else _token(folder)
        self._id = self._begun()

    def bring_up_to(self, shown: Sequence[Shown]) -> None:
        """Add and end trials, so that these are there."""
        stored = self._storage.get_all_trials(self._id, deepcopy=False)
        pairs = zip(stored, shown, strict=False)
        if len(stored) > len(shown) or not all(_leads_to(old, new) for old, new in pairs):
            self._require_ours(self._id)
            self._storage.delete_study(self._id)
            self._id, stored = self._begun(), []
        for old, new in zip(stored, shown, strict=False):
            if not old.state.is_finished():
                self._go_on(old, new)
        for new in shown[len(stored) :]:
            self._storage.create_new_trial(self._id, self._made(new))
        if self._journal:
            self._journal.flush()

    def _opened(self, folder: Path) -> "BaseStorage":
        from optuna.storages import JournalStorage, RDBStorage

        if self._journal:
            return JournalStorage(self._journal)
        url = address(self._trials.address, folder)
        server = {"connect_timeout": WAIT} if url.startswith(("postgresql", "mysql")) else {}
        if url.startswith("sqlite"):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            return RDBStorage(url, engine_kwargs={"connect_args": server})
        except ImportError as error:
            cause = error.__cause__ or error
            raise UserError(f"{cause}; install it (pip install 'psycopg[binary]', say)") from error

    def _begun(self) -> int:
        """The number of the Optuna study, which is made where there is none."""
        import optuna

        ways = list(self._trials.objectives.values())
        named: Any = {"study_name": self._name, "storage": self._storage}
        made = optuna.create_study(**named, directions=ways, load_if_exists=True)
        if [way.name.lower() for way in made.directions] != ways:
            self._require_ours(made._study_id)
            optuna.delete_study(**named)
            made = optuna.create_study(**named, directions=ways)
        if not made.user_attrs:
            made.set_user_attr("question", self._study.question)
            if self._mark:
                made.set_user_attr("home", self._mark)
            made.set_metric_names(list(self._trials.objectives))
        self._require_ours(made._study_id)
        return int(made._study_id)

    def _require_ours(self, number: int) -> None:
        """UserError unless the Optuna study is one that this home has written."""
        owner = self._storage.get_study_user_attrs(number).get("home")
        if not self._journal and owner != self._mark:
            raise UserError(
                f"it has a study '{self._name}' that is none of this home's; name another "
                "database, or remove that study with `optuna delete-study`"
            )

    def _made(self, new: Shown) -> "FrozenTrial":
        from optuna.trial import TrialState, create_trial

        return create_trial(
            state=TrialState[new.state],
            values=list(new.values) or None,
            params=dict(new.params),
            distributions=dict(self._trials.distributions()),
            user_attrs=dict(new.about),
            intermediate_values=dict(new.reported),
        )

    def _go_on(self, old: "FrozenTrial", new: Shown) -> None:
        """Tell of a trial at work what is new."""
        from optuna.trial import TrialState

        for step, value in new.reported.items():
            if old.intermediate_values.get(step) != value:
                self._storage.set_trial_intermediate_value(old._trial_id, step, value)
        for name, attribute in new.about.items():
            if old.user_attrs.get(name) != attribute:
                self._storage.set_trial_user_attr(old._trial_id, name, attribute)
        if new.state != "RUNNING":
            state, values = TrialState[new.state], list(new.values) or None
            self._storage.set_trial_state_values(old._trial_id, state, values)


def _leads_to(old: "FrozenTrial", new: Shown) -> bool:
    """Whether a trial that is stored is the one to be shown, or may become it."""
    if old.params != new.params or old.user_attrs.get("point") != new.about["point"]:
        return False
    if not old.state.is_finished():
        return True
    return old.state.name == new.state and tuple(old.values or ()) == new.values


def address(written: str, folder: Path) -> str:
    """A database's address with what the environment adds to it, its file below `folder`.

    Raises UserError for a variable that there is not.
    """
    address = os.path.expandvars(written)
    if left := re.search(r"\$\{?(\w+)", address):
        raise UserError(f"the environment has no {left[1]}")
    kind, slashes, file = address.partition(":///")
    if slashes and kind.startswith("sqlite") and not file.startswith("/"):
        return f"{kind}:///{folder / file}"
    return address


def _token(folder: Path) -> str:
    """What tells this home from others, by whatever path it is reached."""
    file = folder / "optuna.token"
    if not file.exists():
        write_atomic(file, uuid.uuid4().hex)
    return file.read_text(encoding="utf-8")


@contextmanager
def _one_line(where: str) -> Iterator[None]:
    """What Optuna and its databases raise as one line without a password; none of their warnings.

    A disk that is full stays what it is.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError:
        raise
    except Exception as error:  # of whichever driver a database has
        first: BaseException = error
        while first.__cause__ and not isinstance(first, UserError):
            first = first.__cause__
        lines = [line for line in str(first).splitlines() if line.strip()] or [repr(first)]
        message = redact(" ".join(lines[0].split()))
        raise UserError(f"explore.storage: {redact(where)} cannot be used: {message}") from error


class _Journal:
    """A journal that one process writes, one write a time; a file of Optuna's would be forced to
    the disk for each trial."""

    def __init__(self, path: Path) -> None:
        self._path, self._written = path, 0
        self._logs, self._whole = _read(path)
        self._kept = len(self._logs)

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        return self._logs[log_number_from - self._written :]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._logs += logs

    def flush(self) -> None:
        """Write what is new. What a killed process left half-written is written anew."""
        if self._whole:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(_lines(self._logs[self._kept :]))
        else:
            write_atomic(self._path, "".join(_lines(self._logs)))
        self._written += len(self._logs)  # and read: the storage reads what it writes
        self._logs, self._kept, self._whole = [], 0, True


def _lines(logs: Iterable[dict[str, Any]]) -> Iterator[str]:
    return (json.dumps(log, separators=(",", ":")) + "\n" for log in logs)


def _read(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The operations in a journal, as far as they can be read, and whether that is all of them."""
    logs: list[dict[str, Any]] = []
    try:
        text = path.read_text(encoding="utf-8")
        for line in text.splitlines():
            log = json.loads(line)
            logs += [log] if log["op_code"] is not None else []
    except UNREADABLE:
        return logs, False
    return logs, text.endswith("\n")
