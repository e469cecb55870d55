"""What came of a chain of steps."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ablate.files import write_json


@dataclass(frozen=True)
class Outcome:
    """How a chain ended, why in a line, and the key of the step it ended at.

    `busy`: another worker has that step; `full`: the disk is; `bad`: a parent's checksum does not
    hold; `lost`: the process died without a word; `stopped`: it had to go, through no fault of the
    step's; `memory`: it was killed for the memory it took; `setup`: a line that its job begins with
    failed. `log`: what its process printed that is in no step's log. `remedy`: what to do, where
    every other step would run into the same.
    """

    status: Literal["done", "failed", "busy", "full", "bad", "lost", "stopped", "memory", "setup"]
    message: str = ""
    step: str = ""
    log: str = ""
    remedy: str = ""

    def leave(self, answer: Path) -> None:
        """Write it down as the answer of the chain's job: for its driver, and for others, who leave
        the steps of a job that has not answered to it."""
        write_json(answer, asdict(self))
