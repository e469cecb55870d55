"""A report of 1,000 candidates on 16 benchmarks, 100,000 answers: built, and opened in Chromium.

    python benchmarks/report.py [--candidates N] [--opened N] [--json]

The store is invented (`tests/reports/synthetic.py`). Each form is built by a process of its own,
and so is the table. Beside them stands `plain`, a process that reads the same answers and writes
them as one file of JSON: its seconds of CPU, its most memory, that file. A page counts as ready
when its table sorts or its first answers stand there, seen from the request on, beside a page of
one heading; the median of five times, in a browser that was started before. Every row says how
many times what it stands beside; all in one run.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

TESTS = Path(__file__).parents[1] / "tests" / "reports"
BUILD = """
import sys, time
from pathlib import Path
from ablate.reports.load import load
from ablate.reports.site import build, build_single
made = (build_single if sys.argv[3] == "single" else build)(
    load(sys.argv[1], Path(sys.argv[1]).parent), Path(sys.argv[2])
)
print(time.process_time(), made)
"""
PLAIN = """
import json, sys, time
from pathlib import Path
files = sorted(Path(sys.argv[1]).rglob("answers.jsonl"))
rows = [json.loads(line) for file in files for line in file.open(encoding="utf-8")]
Path(sys.argv[2]).write_text(json.dumps(rows), encoding="utf-8")
print(time.process_time(), sys.argv[2])
"""
MEMORY = """
status = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")))
"""
"""The kernel's own figure, as what a child's begins with is its parent's."""
HEADING = "<!doctype html><main><article><h1>One heading</h1></article></main>"
READY = {
    "index": "h1",
    "results": ".dt-container",
    "cost": ".dt-container",
    "answers": "#browser > li",
    "candidates/001": "h1",
}


def built(script: str, *words: str) -> tuple[dict[str, float], Path]:
    """What a script that makes words[1] takes, and the first page it made."""
    command = [sys.executable, "-c", script + MEMORY, *words]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    target = Path(words[1])
    files = [path for path in target.rglob("*") if path.is_file()] or [target]
    cost = {
        "seconds of CPU": float(said[0]),
        "memory, MB": float(said[2]),
        "size, MB": sum(path.stat().st_size for path in files) / 1e6,
    }
    return cost, Path(said[1])


def tabled(study: Path) -> dict[str, float]:
    """Seconds of CPU that `ablate table` takes, in a process of its own, at first and again."""
    found = {}
    for turn in ("first", "again"):
        spent = os.times()
        line = [sys.executable, "-m", "ablate", "table", str(study)]
        environment = {**os.environ, "ABLATE_HOME": str(study.parent)}
        subprocess.run(line, env=environment, stdout=subprocess.DEVNULL, check=True)
        now = os.times()
        used = now.children_user - spent.children_user + now.children_system - spent.children_system
        found[f"{turn}, seconds of CPU"] = used
    return found


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, for all pages."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def opened(browser: Any, pages: Mapping[str, tuple[str, str]], times: int) -> dict[str, float]:
    """Milliseconds until each page, an address and a sign on it, is ready."""
    found = {}
    for name, (address, sign) in pages.items():
        took = []
        for _ in range(times):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            start = perf_counter()
            page.goto(address, wait_until="commit")
            page.locator(f"main > article:visible {sign}").first.wait_for()
            took.append(1000 * (perf_counter() - start))
            page.close()
        found[f"{name} ready, ms"] = statistics.median(took)
    return found


def addresses(first: Path, form: str) -> dict[str, tuple[str, str]]:
    """Each page of a report, and the sign that it is ready."""
    single = form == "single"
    return {
        path: (
            f"{first.as_uri()}#{path}" if single else (first.parent / f"{path}.html").as_uri(),
            sign,
        )
        for path, sign in READY.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--opened", type=int, default=5, help="times a page (default 5)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(TESTS))
    from synthetic import play_many

    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        home = Path(scratch) / "home"
        home.mkdir()
        play_many(home, arguments.candidates)
        study, heading = home / "many.yaml", Path(scratch) / "plain.html"
        heading.write_text(HEADING, encoding="utf-8")
        plain, _ = built(PLAIN, str(home), str(Path(scratch) / "plain.json"))
        plain |= opened(browser, {"a page": (heading.as_uri(), "h1")}, arguments.opened)
        found["table"] = tabled(study)
        for form in ("folder", "single"):
            target = Path(scratch) / ("report.html" if form == "single" else "report")
            cost, first = built(BUILD, str(study), str(target), form)
            pages = addresses(first, form)
            found[form] = {**cost, **opened(browser, pages, arguments.opened)}
    if arguments.json:
        print(json.dumps({"plain": plain, **found}, indent=1))
        return
    print(f"{'':8} {'':28} {'here':>10} {'plain':>10} {'times':>8}")
    for form, numbers in found.items():
        for name, number in numbers.items():
            beside = next(plain[one] for one in plain if name.endswith(one.removeprefix("a page")))
            print(f"{form:8} {name:28} {number:10,.2f} {beside:10,.2f} {number / beside:7.2f}x")


if __name__ == "__main__":
    main()
