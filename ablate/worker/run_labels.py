"""What a step is tracked under. A worker knows neither study nor round, so the driver that asks for
a step leaves this in its folder, `drives/<token>/labels/<key>.json`. It is in no key and no record.
"""

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path

from ablate.files import UNREADABLE, read_json, write_json


@dataclass(frozen=True)
class RunLabels:
    """The id of the study that asked for a step first, the round, the candidate."""

    study: str
    round: int
    candidate: str

    def write(self, drive: Path, key: str) -> None:
        """Leave them for the worker of the step with this key."""
        path = _path(drive, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(self))

    @classmethod
    def read(cls, drive: Path, key: str) -> "RunLabels | None":
        """What the driver left; None where it left nothing."""
        with contextlib.suppress(*UNREADABLE):
            return cls(**read_json(_path(drive, key)))
        return None


def _path(drive: Path, key: str) -> Path:
    return drive / "labels" / f"{key}.json"
