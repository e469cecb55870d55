"""What `ablate` does, as functions for programs and notebooks: the command line calls these.

    from ablate import api

    study = api.load_study("micro/smoke", ["seeds=[0,1]"])
    result = api.run(study)
    api.table(study).frame           # a pandas.DataFrame
    api.report(study)                # the path of the first page

A mistake of the user is a `UserError`, in one line. Results lie in `$ABLATE_HOME`, by default
`./runs`, as those of the command line do.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ablate.catalog.launchers import DEFAULT
from ablate.config.study import Study
from ablate.config.study import load_study as load_study
from ablate.driver.events import Event as Event
from ablate.errors import UserError as UserError
from ablate.garbage import without_gc

if TYPE_CHECKING:
    from ablate.commands.plan import StudyPlan
    from ablate.commands.report import StudyTable
    from ablate.reports.model import StudyResult

TableKind = Literal["results", "significance", "fragility", "paper", "fragility of the paper"]
"""What a table may tell: see `ablate table --help`."""


def plan(
    study: Study, *, rounds: int | None = None, gpu: str | None = None, price: float | None = None
) -> "StudyPlan":
    """Every candidate and step of rounds 1 to `rounds` (default: all), what is done, what it costs.

    `gpu`: a kind of `ablate.cost.estimate.GPUS`; `price`: money for a GPU-hour.
    """
    from ablate.commands.plan import make_plan

    return make_plan(study, rounds, gpu, price)


def run(
    study: Study,
    *,
    rounds: int | None = None,
    backend: str = DEFAULT,
    jobs: int | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> "StudyResult":
    """Make rounds 1 to `rounds` true, doing only what the store lacks; gives what is known then.

    A candidate that failed is in the result with its reason. `backend`: of `ablate list launchers`;
    `jobs`: steps at once; `on_event` is told what happens. Raises `UserError` before anything is
    started for what can be known to go wrong, and KeyboardInterrupt where it is ended.
    """
    from ablate.commands.run import drive_study
    from ablate.driver.invocation import Invocation

    command = Invocation(study.name, (), rounds, jobs, backend)
    return drive_study(study, command, lambda *_: nullcontext(on_event))


@without_gc()
def table(study: Study, kind: TableKind = "results") -> "StudyTable":
    """A table of a study as its store has it, also while it runs: its frame, caption and notes."""
    from ablate.commands.report import make_table

    return make_table(study, kind)


def report(study: Study, *, single_file: bool = False) -> Path:
    """Build the report of a study, also while it runs; the path of its first, or only, page."""
    from ablate.commands.report import build, result

    with without_gc():
        known = result(study)
    return build(known, single_file)
