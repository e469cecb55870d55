"""Where everything lies below `$ABLATE_HOME`. The names of its folders stand here alone."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The folder of everything `ablate` leaves behind, and what is in it.

    store/, work/, leases/, failed/, quarantine/   steps (see `ablate.store.artifacts`)
    logs/         what steps printed
    drives/       what drivers leave for others (see `ablate.driver.sessions`)
    studies/      decisions and Optuna journals, by a study's id
    prefixes/     what steps done in part leave for the same steps at a larger share
    votes.jsonl   which of two answers people found better
    data/         drawn worlds, prepared conversations and benchmarks
    remembered/   what was read of files that have not changed since: a cache
    reports/      HTML reports, by a study's id
    datasets/, weights/, caches/   what others made: where the environment names no other folder
    """

    path: Path

    @property
    def store(self) -> Path:
        """Finished steps."""
        return self.path / "store"

    @property
    def work(self) -> Path:
        """Steps in the making."""
        return self.path / "work"

    @property
    def leases(self) -> Path:
        """Who makes a step."""
        return self.path / "leases"

    @property
    def failed(self) -> Path:
        """Records of steps whose last attempt failed."""
        return self.path / "failed"

    @property
    def quarantine(self) -> Path:
        """Artifacts whose checksum no longer holds."""
        return self.path / "quarantine"

    @property
    def logs(self) -> Path:
        """What steps printed."""
        return self.path / "logs"

    def logs_of(self, name: str, dirname: str) -> Path:
        """What a step printed, which has this name and folder in the store."""
        return self.logs / f"{name}-{dirname}"

    @property
    def drives(self) -> Path:
        """A folder a driver."""
        return self.path / "drives"

    @property
    def studies(self) -> Path:
        """A folder a study."""
        return self.path / "studies"

    @property
    def data(self) -> Path:
        """What was drawn or prepared to train and to ask."""
        return self.path / "data"

    @property
    def prefixes(self) -> Path:
        """A folder a step, of what a smaller share of it left. May be deleted: costs only time."""
        return self.path / "prefixes"

    @property
    def reports(self) -> Path:
        """A folder of pages a study, and the page of all studies."""
        return self.path / "reports"

    @property
    def datasets(self) -> Path:
        """Published data sets and benchmarks."""
        return self.path / "datasets"

    @property
    def weights(self) -> Path:
        """Published weights."""
        return self.path / "weights"

    @property
    def tracking(self) -> Path:
        """What trackers keep here, a folder each."""
        return self.path / "tracking"

    @property
    def votes(self) -> Path:
        """Which of two answers people found better, a line a vote."""
        return self.path / "votes.jsonl"

    @property
    def caches(self) -> Path:
        """Libraries' own, where the user's home cannot be written."""
        return self.path / "caches"

    def study(self, name: str) -> Path:
        """What belongs to the study of this id: its decisions, its Optuna journal."""
        return self.studies / name

    def memory(self, kind: str, name: str) -> Path:
        """The file of what is remembered under a name, of one kind."""
        return self.path / "remembered" / kind / f"{name}.json"
