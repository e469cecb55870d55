"""A report of 1,000 candidates on 16 benchmarks, 100,000 answers: built, and opened in Chromium.

    python benchmarks/report.py [--candidates N] [--json]

The store is invented (`tests/reports/synthetic.py`). Each form is built by a process of its own:
seconds from the store to the last file, the most memory it held, files and size on disk. A page
counts as ready when its table sorts or its first answers stand there, seen from the request on; the
median of `OPENED` times, in a browser that was started before. `table`: seconds of `ablate table`
and of its CPU, at first and again.

On two cores, one of them busy, `ablate table` of 1,000 candidates takes 1.4 s, and 3.2 s of CPU at
first, when it remembers what each artifact says; before it did, 2.05 s and 3.4 on a quiet machine.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

OPENED = 5
TESTS = Path(__file__).parents[1] / "tests" / "reports"
BUILD = """
import resource, sys, time
start = time.perf_counter()
from pathlib import Path
from ablate.reports.load import load
from ablate.reports.site import build, build_single
made = (build_single if sys.argv[3] == "single" else build)(
    load(sys.argv[1], Path(sys.argv[1]).parent), Path(sys.argv[2])
)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(time.perf_counter() - start, memory, made)
"""
READY = {
    "index": "h1",
    "results": ".dt-container",
    "cost": ".dt-container",
    "answers": "#browser > li",
    "candidates/001": "h1",
}


def built(study: Path, target: Path, form: str) -> tuple[dict[str, float], Path]:
    """What building takes, and the first page."""
    command = [sys.executable, "-c", BUILD, str(study), str(target), form]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    files = [path for path in target.rglob("*") if path.is_file()] or [target]
    cost = {
        "seconds": float(said[0]),
        "memory MB": float(said[1]),
        "files": float(len(files)),
        "size MB": sum(path.stat().st_size for path in files) / 1e6,
    }
    return cost, Path(said[2])


def tabled(study: Path) -> dict[str, float]:
    """What `ablate table` takes, in a process of its own."""
    found = {}
    for turn in ("first", "again"):
        began, spent = perf_counter(), os.times()
        line = [sys.executable, "-m", "ablate", "table", str(study)]
        environment = {**os.environ, "ABLATE_HOME": str(study.parent)}
        subprocess.run(line, env=environment, stdout=subprocess.DEVNULL, check=True)
        found[f"{turn}, seconds"], now = perf_counter() - began, os.times()
        used = now.children_user - spent.children_user + now.children_system - spent.children_system
        found[f"{turn}, seconds of CPU"] = used
    return found


def opened(first: Path, form: str) -> dict[str, float]:
    """Milliseconds until each page is ready."""
    from playwright.sync_api import sync_playwright

    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for path, sign in READY.items():
            folder = first.parent / f"{path}.html"
            address = f"{first.as_uri()}#{path}" if form == "single" else folder.as_uri()
            times = []
            for _ in range(OPENED):
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                start = perf_counter()
                page.goto(address, wait_until="commit")
                page.locator(f"main > article:visible {sign}").first.wait_for()
                times.append(1000 * (perf_counter() - start))
                page.close()
            found[f"{path} ready, ms"] = statistics.median(times)
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(TESTS))
    from synthetic import play_many

    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        home.mkdir()
        play_many(home, arguments.candidates)
        found["table"] = tabled(home / "many.yaml")
        for form in ("folder", "single"):
            target = Path(scratch) / ("report.html" if form == "single" else "report")
            cost, first = built(home / "many.yaml", target, form)
            found[form] = {**cost, **opened(first, form)}
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    for form, numbers in found.items():
        for name, number in numbers.items():
            print(f"{form:8} {name:28} {number:10,.1f}")


if __name__ == "__main__":
    main()
