"""What a study looks like while it runs: a live view on a terminal, else a line an event.

What is shown is read from the store, so that it holds whoever does the work, and wherever.
`ablate run` shows it on stderr, `ablate status --watch` on stdout.
"""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO

from ablate.catalog.step_kinds import PREFLIGHT
from ablate.commands import status_text as state
from ablate.commands.drivers_and_jobs import ClusterJobs, QueuePoller
from ablate.commands.output import note, on_terminal
from ablate.commands.study_status import StatusReader, StudyStatus
from ablate.config.study import Study
from ablate.design import Candidate
from ablate.driver.events import Event
from ablate.driver.invocation import Invocation
from ablate.errors import UserError
from ablate.humanize import duration
from ablate.launch.registry import launcher
from ablate.printable import one_line, printable
from ablate.store.artifacts import Store
from ablate.strategies import Round

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.text import Text

OnEvent = Callable[[Event], None]
MARKS = {"done": "[green]done[/]", "failed": "[red]failed[/]", "running": "[cyan]running[/]"}
SHOWN = 16
"""Candidates, steps, jobs and failures that are shown, of each; of more only the number."""
SHARE = 5
"""A look at the store takes at most one part in so many of the time."""


@contextmanager
def watching(eye: StatusReader, command: Invocation) -> Iterator[OnEvent]:
    """Show the study while the block drives it; gives the function that scheduler events go to."""
    if not on_terminal(sys.stderr):
        yield LineView(eye, command)
        return
    with QueuePoller(eye.store.home, eye.study.id) as hints:
        scene = LiveView(eye, hints, command)
        with _live(scene, sys.stderr) as live:
            yield scene.on_event
            scene.due = 0.0
            live.refresh()


def watch(study: Study, store: Store, command: Invocation) -> None:
    """Show the study on stdout until it is complete, whoever works on it; `command` goes on."""
    with QueuePoller(store.home, study.id) as hints:
        scene = LiveView(StatusReader(study, store), hints, command)
        with _live(scene, sys.stdout):
            while not scene.status.complete:
                time.sleep(0.2)


def _live(scene: "LiveView", stream: TextIO) -> "Live":
    from rich.console import Console
    from rich.live import Live

    # The stream as it is now: a step in this process has its own sys.stderr for a while.
    return Live(
        get_renderable=scene.draw,
        console=Console(file=stream, highlight=False),
        refresh_per_second=2,
        redirect_stdout=False,
        redirect_stderr=False,
    )


class LineView:
    """One plain line an event, numbered by the steps that have ended."""

    def __init__(self, eye: StatusReader, command: Invocation) -> None:
        self.eye, self.store = eye, eye.store
        self.total, self.ended = len(eye.first.steps), eye.first.done
        self.queues = launcher(command.backend).remote

    def __call__(self, event: Event) -> None:
        if event.what == "submitted" and not self.queues:
            event = replace(event, what="started")  # there was a place for it
        line = describe(event)
        if event.what == "decided":  # what comes next may be other steps, and more of them
            self.total = len(self.eye.look().steps)
        if event.what in ("done", "failed") and event.step and event.step.kind != PREFLIGHT:
            self.ended += 1
        record = self.store.record(event.step) if event.what == "done" and event.step else None
        took = f" ({duration(record['seconds'])})" if record else ""
        note(f"[{self.ended}/{self.total}] {line}{took}")


def describe(event: Event) -> str:
    """An event in a line."""
    if event.decision:
        chosen = event.decision
        scores = f"{chosen.scores[chosen.winner]:.1f}"
        tie = ", a tie with the next" if chosen.tie else ""
        count = sum(chosen.unread.get(chosen.winner, {}).values())
        unread = f", {count:,} of its answers not read" if count else ""
        on = ", ".join(chosen.survivors)
        part = "" if chosen.fidelity.is_whole else f" at {chosen.fidelity.words}"
        turn = "turn" if chosen.look else "round"
        return f"{turn} {chosen.round}: goes on with {on}, {scores}{part}{tie}{unread}"
    message = one_line(event.message)
    if event.step is None:
        return message
    what = f"{event.what:<9} {event.step.label}"
    return f"{what}: {message}" if message else what


class LiveView:
    """The live view, drawn by rich's own thread from what the store holds then."""

    def __init__(self, eye: StatusReader, hints: QueuePoller, command: Invocation) -> None:
        self.eye, self.hints, self.command = eye, hints, command
        self.status = eye.first
        self.due = 0.0
        self.messages: list[str] = []

    def on_event(self, event: Event) -> None:
        """Take note of what happened that the store does not tell."""
        first = event.step is not None and event.step.kind == PREFLIGHT
        if first or event.what in ("lost", "stopped", "corrupt", "waiting", "notice"):
            self.messages = [*self.messages, describe(event)][-5:]

    def draw(self) -> "RenderableType":
        """Rounds and candidates, the steps at work, what waits or failed, when it will end."""
        began = time.monotonic()
        if began >= self.due:
            with contextlib.suppress(OSError, UserError):  # what is seen may vanish while we look
                self.status = self.eye.look()
            self.due = time.monotonic() + (SHARE - 1) * (time.monotonic() - began)
        return scene(self.status, self.hints.work, self.command, self.messages)


def scene(
    status: StudyStatus, work: ClusterJobs, command: Invocation, messages: Sequence[str] = ()
) -> "RenderableType":
    """A survey as something rich can print."""
    from rich.console import Group

    failures = [
        line
        for step in status.failed[:SHOWN]
        for line in (f"failed: {status.reason(step)}", f"  {state.remedy(step, command)}")
    ]
    return Group(
        _text(state.summary(status, work, command), "bold"),
        _candidates(status),
        _steps(status),
        *(_text(f"in the queue: {line}", "dim") for line in state.queue(status, work)),
        *(_text(line, "dim") for line in state.starting(status, work)),
        *(_text(line, "dim") for line in state.drivers(status, work, command)),
        *([_text(state.gone(status), "dim")] if status.gone else ()),
        *(_text(line) for line in [*failures, *_more(status.failed)]),
        *(_text(line) for line in messages),
    )


def _text(words: str, style: str = "") -> "Text":
    """Words of a study, a step or a machine, as rich prints them: no order to it or a terminal."""
    from rich.text import Text

    return Text(printable(words), style=style)


def _candidates(status: StudyStatus) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    few = len(status.candidates) <= SHOWN
    for turn in status.rounds:
        number = f"[dim]round {turn.round}[/]"
        if turn.provisional:
            table.add_row(number, "[dim]not known yet[/]")
            continue
        shown = [
            candidate for candidate in turn.candidates if few or _matters(status, candidate, turn)
        ][:SHOWN]
        for candidate in shown:
            score = status.score(candidate)
            now = status.state(candidate)
            table.add_row(
                number,
                _text(one_line(candidate.name)),
                f"{score:.1f}" if score is not None else MARKS.get(now, f"[dim]{now}[/]"),
                _mark(turn.mark(candidate.point)),
            )
        rest = Counter(
            status.state(candidate) for candidate in turn.candidates if candidate not in shown
        )
        if rest:
            counted = ", ".join(f"{count:,} {word}" for word, count in rest.items())
            table.add_row(number, f"[dim]and {counted}[/]")
    return table


def _mark(word: str) -> str:
    return "[bold cyan]winner[/]" if word == "winner" else word


def _matters(status: StudyStatus, candidate: Candidate, turn: Round) -> bool:
    """Whether it is worth a line where there are many."""
    won = turn.mark(candidate.point) == "winner"
    return won or status.state(candidate) in ("running", "failed")


def _steps(status: StudyStatus) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for step in status.at_work[:SHOWN]:
        holding = status.standings[step.key].holding
        if holding:
            bar = ProgressBar(total=holding.total or 1, completed=holding.done, width=24)
            kind, doing = f"[cyan]{step.name}[/]", _text(holding.note, "dim")
            table.add_row(kind, _text(step.slug), bar, *state.progress(status, step), doing)
    for line in _more(status.at_work):
        table.add_row("", f"[dim]{line}[/]")
    return table


def _more(things: Sequence[object]) -> list[str]:
    """Of how many things there was no room, as a line; none where there was room for all."""
    return [f"and {len(things) - SHOWN:,} more"] if len(things) > SHOWN else []
