"""What a study looks like while it runs: a live view on a terminal, else a line an event.

Both go to stderr. What is shown is read from the store, so that it holds whoever does the work.
"""

import contextlib
import dataclasses
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ablate.commands.output import duration, note
from ablate.commands.survey import Survey, look
from ablate.errors import UserError
from ablate.scheduler import Event
from ablate.store import Store
from ablate.study import Study

if TYPE_CHECKING:
    from rich.console import RenderableType

OnEvent = Callable[[Event], None]
MARKS = {"done": "[green]done[/]", "failed": "[red]failed[/]", "running": "[cyan]running[/]"}


@contextmanager
def watching(study: Study, store: Store, last: int | None) -> Iterator[OnEvent]:
    """Show the study while the block runs; gives the function that scheduler events go to."""
    found = look(study, store, last)
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield Lines(found)
        return
    from rich.console import Console
    from rich.live import Live

    scene = Scene(found, last)
    # The stream as it is now: a step in this process has its own sys.stderr for a while.
    console = Console(file=sys.stderr, highlight=False)
    with Live(
        get_renderable=scene.draw,
        console=console,
        refresh_per_second=2,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as live:
        yield scene.on_event
        live.refresh()


class Lines:
    """One plain line an event, numbered by the steps that have ended."""

    def __init__(self, found: Survey) -> None:
        self.store = found.store
        self.total = len(found.steps)
        self.ended = sum(one.state == "done" for one in found.standings.values())

    def __call__(self, event: Event) -> None:
        line = describe(event)
        if event.what in ("done", "failed"):
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
        return f"round {chosen.round}: {chosen.winner} wins with {scores}{tie}"
    what = f"{event.step.kind} {event.step.slug}" if event.step else ""
    said = f": {' '.join(event.message.split())}" if event.message else ""
    return f"{event.what:<8} {what}{said}"


class Scene:
    """The live view. Drawn by rich's own thread; what it shows is surveyed anew after an event."""

    def __init__(self, found: Survey, last: int | None) -> None:
        self.found, self.last = found, last
        self.stale = threading.Event()
        self.messages: list[str] = []

    def on_event(self, event: Event) -> None:
        """Take note of what happened; the next drawing shows it."""
        if event.what in ("failed", "lost", "corrupt", "waiting"):
            self.messages = [*self.messages, describe(event)][-5:]
        self.stale.set()

    def draw(self) -> "RenderableType":
        """Rounds and candidates, the steps at work, and how long it may still take."""
        moved = self.stale.is_set()
        self.stale.clear()
        with contextlib.suppress(OSError, UserError):  # what is seen may vanish while we look
            self.found = (
                look(self.found.study, self.found.store, self.last)
                if moved
                else dataclasses.replace(self.found)
            )
        return scene(self.found, self.messages)


def scene(found: Survey, messages: list[str]) -> "RenderableType":
    """A survey as something rich can print."""
    from rich.console import Group
    from rich.markup import escape
    from rich.text import Text

    done = sum(one.state == "done" for one in found.standings.values())
    left = found.seconds_left()
    said = f"{done} of {len(found.steps)} steps" + (
        f", about {duration(left)} left" if left else ""
    )
    title = Text.from_markup(f"[bold]{escape(found.study.name)}[/]  {said}")
    return Group(title, _candidates(found), _steps(found), *(Text(line) for line in messages))


def _candidates(found: Survey) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for turn in found.rounds:
        if turn.provisional:
            table.add_row(f"[dim]round {turn.number}[/]", "[dim]not known yet[/]")
            continue
        winner = turn.decision.winner if turn.decision else None
        for one in turn.candidates:
            score = found.score(one)
            state = found.state(one)
            table.add_row(
                f"[dim]round {turn.number}[/]",
                escape(one.name),
                f"{score:.1f}" if score is not None else MARKS.get(state, f"[dim]{state}[/]"),
                "[bold cyan]winner[/]" if one.point == winner else "",
            )
    return table


def _steps(found: Survey) -> Any:
    from rich.markup import escape
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for step in found.steps:
        holding = found.standings[step.key].holding
        if holding:
            bar = ProgressBar(total=holding.total or 1, completed=holding.done, width=24)
            name = escape(step.slug)
            doing = escape(holding.note) or "starting"
            table.add_row(f"[cyan]{step.kind}[/]", name, bar, f"[dim]{doing}[/]")
    return table
