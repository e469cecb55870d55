"""Tells a step's tracker what goes into its `metrics.jsonl`, which stays the truth.

    <work>/tracker.json   which tracker's run the step is, for a later attempt to go on in it

What a tracker raises costs its step nothing: one line in the log, and the step goes on without it.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ablate.catalog.trackers import TRACKERS
from ablate.files import UNREADABLE, read_json, write_json
from ablate.home import Home
from ablate.redaction import redact
from ablate.trackers._interface import Run, Tracker
from ablate.worker.run_labels import RunLabels

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from ablate.worker.context import StepContext

FILE = "tracker.json"


class Tracking:
    """The run of one step in its tracker; one without a tracker is told in vain."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.last_step = -1
        self._tracker: Tracker | None = None
        self._logger: Logger | None = None

    def open(self, ctx: "StepContext", choice: Mapping[str, Any], rows: Sequence[Any]) -> None:
        """Begin the run, or go on in the one of an earlier attempt, which was told these rows."""
        with self._harmless():
            tracker = build_tracker(choice)
            earlier = _earlier(ctx, self.name)
            labels = RunLabels.read(ctx.drive, ctx.key) or RunLabels("no study", 0, ctx.slug)
            folder = Home(ctx.home).tracking
            folder.mkdir(parents=True, exist_ok=True)
            self._logger = tracker.open(Run(labels, ctx.stage, ctx.key, folder, earlier))
            self._tracker = tracker
            self._logger.log_hyperparams(
                {
                    "study": labels.study,
                    "round": labels.round,
                    "candidate": labels.candidate,
                    "step": {"name": ctx.stage, "kind": ctx.step_kind, "key": ctx.key},
                    "seed": ctx.spec.get("seed"),
                    "stage": ctx.spec.get("stage", {}),
                }
            )
            if earlier is not None:
                last = max((row["step"] for row in rows), default=-1)
                self.last_step = tracker.known(self._logger, last)
            write_json(ctx.work / FILE, {"name": self.name, "id": str(self._logger.version)})

    def tell(self, prefix: str, row: Mapping[str, Any]) -> None:
        """A row of numbers, some by name in mappings, with its `step`; each is told once."""
        step = row["step"]
        if self._tracker is None or self._logger is None or step <= self.last_step:
            return
        self.last_step = step
        values = {key: value for key, value in row.items() if key != "step"}
        with self._harmless():
            self._tracker.log(self._logger, dict(_flat(prefix, values)), step)

    def close(self, failed: bool) -> None:
        """End the run."""
        if self._tracker is not None and self._logger is not None:
            with self._harmless():
                self._tracker.close(self._logger, failed)

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a tracker's library raises
            self._logger = None
            words = " ".join(redact(f"{type(error).__name__}: {error}").split())
            print(
                f"tracker {self.name}: {words[:300]}; the step goes on without it, its metrics are "
                "in metrics.jsonl",
                file=sys.stderr,
            )


def build_tracker(choice: Mapping[str, Any]) -> Tracker:
    """The tracker that `infra.tracker` says, with its options."""
    options = {key: value for key, value in choice.items() if key != "name"}
    tracker: Tracker = TRACKERS.build(choice["name"], **options)
    return tracker


@contextlib.contextmanager
def tracking(ctx: "StepContext", prefix: str, step: int = 0) -> Iterator[Tracking]:
    """The step's run in the tracker that `infra` names, in the leading process alone.

    `step`: of the step's own, after which it goes on; the rows up to it that the tracker does not
    know, as of a trunk that was taken over, are told it first.
    """
    choice = ctx.infra.get("tracker") if ctx.world.leads else None
    if not choice:
        yield Tracking()
        return
    rows = ctx.logged()
    run = Tracking(choice["name"])
    run.open(ctx, choice, rows)
    for row in rows:
        if row["step"] <= step:
            run.tell(prefix, row)
    failed = True
    try:
        yield run
        failed = False
    finally:
        run.close(failed)


def _earlier(ctx: "StepContext", name: str) -> str | None:
    """The id of the run that an earlier attempt began in this tracker."""
    with contextlib.suppress(*UNREADABLE):
        run = read_json(ctx.work / FILE)
        return str(run["id"]) if run["name"] == name else None
    return None


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}/{key}", value)
        else:
            yield f"{prefix}/{key}", value
