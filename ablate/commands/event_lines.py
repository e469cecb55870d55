"""What `ablate run --json` prints while a study is driven: a line of JSON an event."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ablate.catalog.step_kinds import PREFLIGHT
from ablate.commands.study_status import StatusReader
from ablate.driver.events import Event, OnEvent
from ablate.driver.invocation import Invocation
from ablate.store.steps import Step

View = Callable[[StatusReader, Invocation], AbstractContextManager[OnEvent]]
"""Shows a study while it is driven; gives the function that events go to."""


class JsonLines:
    """A `View`. A line has the fields of `ablate.commands.schemas.RunEvent` that are not null."""

    def __init__(self) -> None:
        self.stream = sys.stdout  # a step in this process has its own for a while
        self.study, self.done, self.total = "", 0, 0

    @contextmanager
    def __call__(self, eye: StatusReader, command: Invocation) -> Iterator[OnEvent]:
        self.study = eye.study.name
        self.done, self.total = eye.first.done, len(eye.first.steps)
        yield lambda event: self._tell(event, eye)

    def emit(self, event: str, **fields: Any) -> None:
        """Print a line."""
        line = {"event": event, "study": self.study, "done": self.done, "total": self.total}
        print(json.dumps(line | fields), file=self.stream, flush=True)  # in ASCII

    def _tell(self, event: Event, eye: StatusReader) -> None:
        fields: dict[str, Any] = {}
        if event.what == "decided":  # what comes next may be other steps, and more of them
            self.total = len(eye.look().steps)
        if event.step:
            fields["step"] = named(event.step)
            ended = event.what in ("done", "failed") and event.step.kind != PREFLIGHT
            self.done += ended
            if event.what == "done" and (record := eye.store.record(event.step)):
                fields["seconds"] = record["seconds"]
        if event.message:
            fields["message"] = event.message
        if event.decision:
            fields["decision"] = event.decision.to_json()
        self.emit(event.what, **fields)


def named(step: Step) -> dict[str, str]:
    """A step as JSON names it."""
    return {"kind": step.kind, "stage": step.name, "slug": step.slug, "key": step.key}
