"""`ablate status` and `ablate cancel`."""

from collections.abc import Sequence

from ablate.commands.drivers_and_jobs import ClusterJobs
from ablate.commands.output import columns
from ablate.commands.study_status import StudyStatus
from ablate.config.study import Study
from ablate.driver.invocation import Invocation, last_driven
from ablate.files import home
from ablate.humanize import clock, duration, pace
from ablate.launch.protocol import QueuedJob
from ablate.store.results import told_apart
from ablate.store.steps import Step


def again(name: str, overrides: Sequence[str], study: Study) -> Invocation:
    """What to type to go on with the study in the way that it was last driven."""
    return last_driven(home(), study.id).again(Invocation(name, overrides))


def as_text(status: StudyStatus, work: ClusterJobs, command: Invocation) -> str:
    """The same in columns: candidates, what is at work, waits in a queue, or failed.

    `command`: what goes on with the study, when its user types it.
    """
    rows = []
    for turn in status.rounds:
        for candidate in turn.candidates:
            score = status.score(candidate)
            shown = status.state(candidate) if score is None else f"{score:.1f}"
            assumed = status.study.explore.assumption * turn.provisional
            rows.append((turn.round, candidate.name, shown, turn.mark(candidate.point) or assumed))
    parts = [columns(("ROUND", "CANDIDATE", "SCORE OR STATE", ""), rows), *at_work(status)]
    if lines := queue(status, work):
        parts.append("\n".join(("IN THE QUEUE", *lines)))
    if lines := starting(status, work):
        parts.append("\n".join(lines))
    if work.ending:
        which = ", ".join(submitted.job.number for submitted in work.ending)
        parts.append(f"jobs that have answered and not ended: {which}")
    parts += [f"failed: {status.reason(step)}\n  {remedy(step, command)}" for step in status.failed]
    if lines := drivers(status, work, command):
        parts.append("\n".join(lines))
    if status.gone:
        parts.append(gone(status))
    return "\n\n".join((*parts, *told_apart(status.older), summary(status, work, command)))


def gone(status: StudyStatus) -> str:
    """The steps whose artifacts are gone, in a line: what they were for is done, and counts."""
    names = [step.label for step in status.gone]
    more = f", ... ({len(names)} in all)" if len(names) > 3 else ""
    return f"gone, and not needed for what is scored: {', '.join(names[:3])}{more}"


def queue(status: StudyStatus, work: ClusterJobs) -> list[str]:
    """The jobs that wait in a queue, a line for each reason."""
    steps = status.steps if work.waiting else ()
    names = {step.key: step.label for step in steps}
    reasons: dict[str, list[str]] = {}
    for submitted in work.waiting:
        name = names.get(next(iter(submitted.steps), ""), f"job {submitted.job.number}")
        reasons.setdefault(submitted.job.said(), []).append(name)
    return [
        f"{len(jobs)} {reason}: {', '.join(jobs[:3])}{', ...' if len(jobs) > 3 else ''}"
        for reason, jobs in reasons.items()
    ]


def starting(status: StudyStatus, work: ClusterJobs) -> list[str]:
    """The jobs that run but are at no step yet, as while they import: a line if there are any."""
    names = [step.label for _, step in starting_jobs(status, work)]
    more = f", ... ({len(names)} in all)" if len(names) > 3 else ""
    return [f"starting: {', '.join(names[:3])}{more}"] if names else []


def drivers(status: StudyStatus, work: ClusterJobs, command: Invocation) -> list[str]:
    """Who drives the study; of one that died before the study was complete, what to do about it."""
    lines = []
    for driver in work.drivers:
        if driver.state != "gone":
            lines.append(f"driver: {driver.who} {driver.said}".rstrip())
        elif not status.complete:
            takes = f"`{command.as_shell('run')}` takes over what it left"
            lines.append(f"driver: {driver.who} {driver.said}; {takes}{_printed(driver.log)}")
    if work.error and not (work.driven or status.complete):
        lines.append(f"the last driver failed: {work.error}{_printed(work.log)}")
    return lines


def _printed(log: str) -> str:
    return f"; what it printed: {log}" if log else ""


def summary(status: StudyStatus, work: ClusterJobs, command: Invocation) -> str:
    """How far the study is, what that took, and when it will end if it goes on like this."""
    hours, of = status.hours()
    text = f"{status.study.name}: {status.done} of {len(status.steps)} steps done"
    if hours:
        text += f", {hours:.1f} {of}-hours" if hours >= 1 else f", {hours * 60:.1f} {of}-minutes"
    if status.complete:
        return text
    left = status.seconds_left()
    if not (status.at_work or work.driven or work.jobs):
        return f"{text}; nothing works on it: `{command.as_shell('run')}` goes on"
    return f"{text}, about {duration(left)} left, until {clock(left)}" if left else text


def remedy(step: Step, command: Invocation) -> str:
    """What to do about a step that failed."""
    return f"`ablate logs {step.key[:12]}` says more, `{command.as_shell('retry')}` tries it again"


def progress(status: StudyStatus, step: Step) -> tuple[str, str, str, str]:
    """Of a step at work: how far, how quick, how long still, which attempt (from the second)."""
    standing = status.standings[step.key]
    now = standing.holding
    far = f"{now.done:,} of {now.total:,}" if now and now.total else "starting"
    quick = pace(standing.pace) if standing.pace else ""
    left = f"{duration(standing.seconds_left)} left" if standing.seconds_left is not None else ""
    again = f"attempt {now.number}" if now and now.number > 1 else ""
    return far, quick, left, again


def namesakes(study: Study) -> str:
    """What ends the drivers of other studies of this name: of another file, or with other --set."""
    from ablate.launch.drives import drives

    others = dict.fromkeys(drive.study for drive in drives(home()))
    named = [name for name in others if name.rpartition("-")[0] == study.name or name == study.name]
    known = [cancels for name in named if (cancels := last_driven(home(), name).cancels)]
    return f"; another of its name has a driver, which `{'`, `'.join(known)}` ends" * bool(known)


def at_work(status: StudyStatus) -> list[str]:
    heads = ("AT WORK", "STEP", "WHAT", "DONE", "PACE", "", "", "")
    rows = []
    for step in status.at_work:
        holding = status.standings[step.key].holding
        note = holding.note if holding else ""
        rows.append((step.key[:12], step.name, step.slug, *progress(status, step), note))
    return [columns(heads, rows)] if rows else []


def starting_jobs(status: StudyStatus, work: ClusterJobs) -> list[tuple[QueuedJob, Step]]:
    """The jobs that run, each with the step it comes to next, where nobody is at that step."""
    steps = {step.key: step for step in status.steps} if work.begun else {}
    pairs = []
    for submitted in work.begun:
        ahead = (
            key for key in submitted.steps if key in steps and status.standings[key].state != "done"
        )
        key = next(ahead, "")
        if key and status.standings[key].state == "waiting":
            pairs.append((submitted.job, steps[key]))
    return pairs
