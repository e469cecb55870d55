"""What a drive tells of itself while it goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ablate.store.steps import Step
from ablate.strategies import Decision

EventKind = Literal[
    "submitted",
    "started",
    "done",
    "failed",
    "lost",
    "stopped",
    "corrupt",
    "waiting",
    "decided",
    "notice",
]


@dataclass(frozen=True)
class Event:
    """Something happened. `submitted`: the step is first in a chain that a backend took, where it
    may wait for its turn; `started`: it comes next in a chain; `waiting`: another driver has it;
    `lost`, `stopped`: it will be tried again; `corrupt`: an artifact was set aside and will be made
    again; `notice`: no step, but the backend has something to say.
    """

    what: EventKind
    step: Step | None = None
    message: str = ""
    decision: Decision | None = None


OnEvent = Callable[[Event], None]
