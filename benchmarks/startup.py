"""Start-up time of each command of the CLI, as a ratio to `python -c pass` on the same machine.

    python benchmarks/startup.py [--rounds N] [--json]

Each command runs in turn, several rounds over, so that a busy moment hits all of them alike; the
best of each counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

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
    """Seconds one run of the command takes; it must end well."""
    start = time.perf_counter()
    environment = {**os.environ, "ABLATE_HOME": home}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    bare = [sys.executable, "-c", "pass"]
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as home:
        for _ in range(given.rounds):
            best["python -c pass"] = min(best.get("python -c pass", 1e9), measure(bare, home))
            for words in COMMANDS:
                name = f"ablate {' '.join(words)}"
                took = measure([sys.executable, "-m", "ablate", *words], home)
                best[name] = min(best.get(name, took), took)
    unit = best["python -c pass"]
    rows = [
        {"command": name, "seconds": round(seconds, 3), "ratio": round(seconds / unit, 1)}
        for name, seconds in best.items()
    ]
    if given.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'command':<36} {'seconds':>8} {'ratio':>7}")
    for row in rows:
        print(f"{row['command']:<36} {row['seconds']:>8.3f} {row['ratio']:>7.1f}")


if __name__ == "__main__":
    main()
