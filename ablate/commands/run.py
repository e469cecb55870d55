"""`ablate run` and `ablate retry`: drive a study to its end, print its table, build its report."""

import gc
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.catalog.data_sources import require
from ablate.catalog.step_kinds import DRIVER, PREFLIGHT
from ablate.commands import plan as planning
from ablate.commands import report as reporting
from ablate.commands.event_lines import JsonLines, View
from ablate.commands.output import note, say
from ablate.commands.study_status import StatusReader, StudyStatus, read_status
from ablate.config.study import Study, load_study
from ablate.cost.checks import check_candidates, remarks
from ablate.driver.detach import detach
from ablate.driver.invocation import Invocation, LastRun
from ablate.errors import UserError
from ablate.files import home
from ablate.hub.needs import require_weights
from ablate.launch.registry import launcher, remote
from ablate.store.artifacts import Store
from ablate.worker.caches import use_writable_caches
from ablate.worker.freed_memory import give_large_pieces_back

if TYPE_CHECKING:
    from ablate.reports.model import CandidateResult, StudyResult


def run(command: Invocation, dry_run: bool, as_json: bool = False) -> int:
    """Make the rounds of the study true, or print what that takes; 1 if one failed, else 0."""
    _check_detached(command)
    if as_json and command.detached:
        raise UserError("--json tells of a driver here; follow a job by `ablate status -w --json`")
    if not dry_run:
        return to_its_end(command, as_json=as_json) if as_json else _drive(command)
    plan = planning.make_plan(_study(command), command.last)
    planning.show(plan, as_json)
    status = plan.status
    kinds = [PREFLIGHT, *(step.kind for step in status.steps), *[DRIVER] * command.detached]
    asked = launcher(command.backend).requests(status.study.infra, kinds, command.jobs)
    if asked and not as_json:
        say(f"\n{asked}")
    return 0


def retry(command: Invocation) -> int:
    """Run again what failed, with all that depends on it; 1 if something failed anew, else 0."""
    _check_detached(command)
    study, store = _study(command), Store(home())
    status = read_status(study, store, command.last)
    for step in status.failed:
        store.forgive(step)
    if status.failed:
        return _drive(command)
    more = "" if status.complete else f"; `{command.as_shell('run')}` goes on with what is left"
    note(f"nothing of {study.name} has failed{more}")
    return 0


def _drive(command: Invocation) -> int:
    """Drive the study here or from a job of its own; 1 if a candidate failed here, else 0."""
    if not command.detached:
        return to_its_end(command)
    study = _study(command)
    _check(study, read_status(study, Store(home()), command.last))
    LastRun.by(command).write(home(), study.id)
    job, log = detach(to_its_end, command, study, home())
    say(f"job {job} drives {study.name}")
    note(f"watch it with `{command.as_shell('status')}` or `tail -f {shlex.quote(str(log))}`")
    note(f"end it, and all that it started, with `{command.as_shell('cancel')}`")
    return 0


def to_its_end(
    command: Invocation, folder: Path | None = None, study_id: str = "", as_json: bool = False
) -> int:
    """Drive the study, then print every round's table, build the report, and say what failed.

    `folder`: of a drive that outlives its driver (see `ablate.driver.detach`); `study_id`:
    the study's where that was submitted, for a node may see its file at another path. 1 if a
    candidate failed, now or before, else 0. `as_json`: a line an event, and one at the end.
    """
    from ablate.commands.live_view import watching

    study = load_study(command.study, command.overrides)
    study = study.model_copy(update={"id": study_id or study.id})
    lines = JsonLines() if as_json else None
    result = drive_study(study, command, lines or watching, folder)
    give_large_pieces_back()
    known = [candidate for turn in result.rounds[: command.last] for candidate in turn.candidates]
    failures = list(dict.fromkeys(reason for candidate in known for reason in candidate.failures))
    failures += [
        f"reference {reference.name}: {reference.failure}"
        for reference in result.references
        if reference.failure
    ]
    if lines:
        best = result.best and result.best.name
        path = str(reporting.build(result))
        lines.emit("finished", failures=failures, best=best, report=path)
        return int(bool(failures))
    text = reporting.ending(result, command.last)
    note("building the report ...")
    page = reporting.build(result)
    print(text)
    say(f"report: {page}")
    _tell_next(known, command)
    return _tell_failures(failures, command)


def drive_study(
    study: Study, command: Invocation, view: View, folder: Path | None = None
) -> "StudyResult":
    """Make the rounds of a study true, as the command says; gives what is known of it then.

    `view`: shows it while it goes on.
    """
    use_writable_caches()
    study = _on_cluster(study, command.backend)
    _make_true(study, command, view, folder)
    gc.collect()  # what the driver read refers to itself, and would stay beside the results
    return reporting.result(study)


def _make_true(study: Study, command: Invocation, view: View, folder: Path | None) -> None:
    store = Store(home())
    eye = StatusReader(study, store, command.last)
    _check(study, eye.first)
    from ablate.driver.scheduler import drive

    LastRun.by(command).write(store.home, study.id)
    with view(eye, command) as on_event:
        ways = (command.last, command.backend, command.jobs)
        drive(study, *ways, home=store.home, on_event=on_event, folder=folder)


def _study(command: Invocation) -> Study:
    """The study that the command names."""
    return _on_cluster(load_study(command.study, command.overrides), command.backend)


def _on_cluster(study: Study, backend: str) -> Study:
    """The study, on a cluster with what its profile says."""
    if not launcher(backend).remote:
        return study
    from ablate.config.clusters import with_profile

    return with_profile(study)


def _check_detached(command: Invocation) -> None:
    if command.detached and not launcher(command.backend).remote:
        raise UserError(f"--detach needs {remote()}: the driver becomes a job of the cluster")


def _check(study: Study, status: StudyStatus) -> None:
    """What can be known to go wrong goes wrong before anything is started."""
    check_candidates(status.candidates, study.infra)
    require(study.learnt_from.values())
    require_weights(study)
    for remark in remarks(status.candidates):
        note(f"note on {remark}")


def _tell_next(known: Sequence["CandidateResult"], command: Invocation) -> None:
    """Two commands that show more of what was found."""
    scored = sum(candidate.composite is not None for candidate in known)
    compared = f"{command.as_shell('compare')} base best --flips 3"
    note("next:")
    note(f"  {command.as_shell('report')} --open")
    note(f"  {compared if scored > 1 else command.as_shell('plan')}")


def _tell_failures(failures: Sequence[str], command: Invocation) -> int:
    """A line for each thing that failed, and how it is run again; 1 if there is any, else 0."""
    for line in failures:
        note(f"failed: {line}")
    if failures:
        note(f"failures stay in the table; `{command.as_shell('retry')}` runs them again")
    return int(bool(failures))
