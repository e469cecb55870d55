"""`ablate run` and `ablate retry`: drive a study to its end, print its table, build its report."""

import shlex
from pathlib import Path

from ablate.commands import planning, reporting
from ablate.commands.output import note
from ablate.commands.survey import Survey, look
from ablate.cost import check_room
from ablate.data.spec import require
from ablate.detach import Command, detach
from ablate.errors import UserError
from ablate.fetch import require_weights
from ablate.files import home
from ablate.sbatch import requests
from ablate.store import Store
from ablate.study import Study, load_study


def run(command: Command, backend: str, dry_run: bool, detached: bool) -> None:
    """Make the rounds of the study true, or print what that takes."""
    _check_detached(backend, detached)
    if dry_run:
        found = look(_study(command, backend), Store(home()), command.last)
        print(planning.as_text(found))
        if backend == "slurm":
            print(f"\n{_requests(found, command.jobs, detached)}")
    else:
        _drive(command, backend, detached)


def retry(command: Command, backend: str, detached: bool) -> None:
    """Run again what failed, with all that depends on it."""
    _check_detached(backend, detached)
    study, store = _study(command, backend), Store(home())
    found = look(study, store)
    failed = [step for step in found.steps if found.standings[step.key].state == "failed"]
    for step in failed:
        store.forgive(step)
    if failed:
        _drive(command, backend, detached)
    else:
        note(f"nothing of {study.name} has failed")


def _drive(command: Command, backend: str, detached: bool) -> None:
    """Drive the study here or, `detached`, from a Slurm job of its own."""
    if not detached:
        return to_its_end(command, backend)
    study = _study(command, backend)
    _check(study, look(study, Store(home()), command.last))
    job, log = detach(command, study, home())
    print(f"job {job} drives {study.name}")
    note(f"watch it with `ablate status {command.study}` or `tail -f {log}`")
    note(f"end it, and all that it started, with `ablate cancel {command.study}`")
    return None


def to_its_end(command: Command, backend: str, folder: Path | None = None) -> None:
    """Drive the study, then print every round's table, build the report, and say what failed.

    `folder`: of a drive that outlives its driver (see `ablate.detach`).
    """
    study, store = _study(command, backend), Store(home())
    _check(study, look(study, store, command.last))
    from ablate.scheduler import drive
    from ablate.view import watching

    with watching(study, store, command.last) as on_event:
        last, jobs = command.last, command.jobs
        drive(study, last, backend, jobs, home=store.home, on_event=on_event, folder=folder)
    print(reporting.render(study, "md", command.last))
    note("building the report ...")
    print(f"report: {reporting.build(study)}")
    _tell_failures(look(study, store, command.last), command)


def _study(command: Command, backend: str) -> Study:
    """The study, on Slurm with what the cluster's profile says."""
    study = load_study(command.study, command.overrides)
    if backend != "slurm":
        return study
    from ablate.clusters import placed

    return placed(study)


def _check_detached(backend: str, detached: bool) -> None:
    if detached and backend != "slurm":
        raise UserError("--detach needs --backend slurm: the driver becomes a job of the cluster")


def _check(study: Study, found: Survey) -> None:
    """What can be known to go wrong goes wrong before anything is started."""
    if study.infra.device == "cuda":
        check_room(found.candidates)
    require(study.learnt_from.values())
    require_weights(study)


def _requests(found: Survey, jobs: int | None, detached: bool) -> str:
    """What sbatch will be asked for, for each kind of step, as a user would write it."""
    infra = found.study.infra
    limit = jobs or infra.slurm.at_once
    kinds = [*(step.kind for step in found.steps), *["driver"] * detached]
    blocks = []
    for alike, asked in requests(infra, kinds):
        array = [f"--array=0-N%{limit}"] if limit and alike != ["driver"] else []
        blocks.append("\n    ".join([f"sbatch for {', '.join(alike)}:", *array, *asked.lines()]))
    return "\n".join(blocks)


def _tell_failures(found: Survey, command: Command) -> None:
    """A line for each thing that failed, and how it is run again."""
    failures = dict.fromkeys(filter(None, map(found.failure, found.candidates)))
    for line in failures:
        note(f"failed: {line}")
    if failures:
        changes = [word for change in command.overrides for word in ("--set", change)]
        again = shlex.join(["ablate", "retry", command.study, *changes])
        note(f"failures stay in the table; `{again}` runs them again")
