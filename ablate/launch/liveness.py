"""Whether a job lives, by the leases of the steps that it holds, whatever a queue believes."""

import math
import time
from pathlib import Path

from ablate.home import Home
from ablate.store.lease import BEAT, Watch


class Liveness:
    """Which jobs show no life in the steps that they hold, looked at once for all."""

    def __init__(self, home: Path) -> None:
        self.leases, self.watch = Home(home).leases, Watch()
        self._silent: dict[str, Path] = {}
        self._looked = -math.inf

    def silent(self, job: str) -> bool:
        """Whether the job of this number holds the lease of a step, and shows no life."""
        if time.monotonic() - self._looked > BEAT / 2:
            self._looked = time.monotonic()
            silence = {folder: self.watch.silent(folder) for folder in self.leases.glob("*/*")}
            self._silent = {
                heard.owner.job: at for at, heard in silence.items() if heard and heard.owner
            }
        return job in self._silent and self.watch.silent(self._silent[job]) is not None
