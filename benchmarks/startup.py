"""Start-up of each command of the CLI in CPU seconds, beside `python -c pass`.

    python benchmarks/startup.py [--rounds N]

Each command runs in turn, several rounds over, so that a busy moment hits all of them alike; the
best of each counts.
"""

import os
import resource
import subprocess
import sys
import tempfile

from rows import Row, run

COMMANDS = (
    ("--help",),
    ("list", "encoders"),
    ("list", "fusions"),
    ("list", "studies"),
    ("plan",),
    ("plan", "eagle/rounds", "--round", "5"),
    ("status",),
    ("run", "--dry-run"),
    ("table",),
    ("report",),
)


def measure(command: list[str], home: str) -> float:
    """CPU seconds that one run of the command takes; it must end well."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "ABLATE_HOME": home}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return now.ru_utime - before.ru_utime + now.ru_stime - before.ru_stime


def rows(rounds: int = 5) -> list[Row]:
    bare = [sys.executable, "-c", "pass"]
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as home:
        for _ in range(rounds):
            best["python"] = min(best.get("python", 1e9), measure(bare, home))
            for words in COMMANDS:
                name = f"ablate {' '.join(words)}"
                took = measure([sys.executable, "-m", "ablate", *words], home)
                best[name] = min(best.get(name, took), took)
    plain = best.pop("python")
    return [Row(name, took, "CPU s", "python -c pass", plain) for name, took in best.items()]


if __name__ == "__main__":
    run(rows, __doc__)
