"""Conversations for N workers: our index on disk against all rows in memory, as LLaVA has them.

    python benchmarks/data.py [--megabytes N] [--workers N] [--samples N]

Rows of one to four questions, an image named in most. The baseline is what public code does: the
whole JSON file as Python objects, tokenised a sample at a time by each worker. `prepare` is the one
pass that makes the index (the baseline: reading the file); a sample is its tokens in random order,
without its image, as decoding is the same for both. Memory is what each forked worker holds for
itself after it has seen its samples (`Private` of /proc/self/smaps_rollup), and the sum with all
that is shared counted once (`Pss`).
"""

import argparse
import json
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from ablate.bake.tokenizer import build_tokenizer, words
from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.data_sources import FileData
from ablate.data.chat import Chat
from ablate.data.conversations import conversation
from ablate.data.dataset import Conversations
from ablate.data.index import Index
from ablate.data.tiles import Tiles

MB = 1e6


class Cost(NamedTuple):
    """What a way of holding the data takes; memory in MB, a sample in microseconds."""

    prepare: float
    private: float
    total: float
    sample: float


def write(path: Path, size: float) -> int:
    """Fill the file with about so many bytes of conversations; returns how many."""
    draw = np.random.default_rng(0)
    said = [" ".join(draw.choice(words(), size=length)) for length in draw.integers(4, 60, 5000)]
    rows = 0
    with path.open("w") as file:
        while file.tell() < size:
            turns = []
            for _ in range(int(draw.integers(1, 5))):
                question, answer = (said[number] for number in draw.integers(0, len(said), 2))
                turns += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
            row: dict[str, Any] = {"id": f"{rows:09}", "conversations": turns}
            if rows % 8:
                row["image"] = f"images/{rows % 1000:06}.png"
                turns[0]["value"] = f"<image>\n{turns[0]['value']}"
            file.write(("[" if rows == 0 else ",\n") + json.dumps(row))
            rows += 1
        file.write("]")
    return rows


def memory() -> tuple[float, float]:
    """Private and proportional memory of this process, in MB."""
    found: dict[str, float] = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, kilobytes = line.split()[:2]
        found[name.rstrip(":")] = int(kilobytes) / 1000
    return found["Private_Clean"] + found["Private_Dirty"], found["Pss"]


def work(
    sample: Callable[[int], Any], rows: int, samples: int, barrier: Any, out: Any, seed: int
) -> None:
    """Look at random samples; say what that took and, when all have, what memory it holds."""
    before, _ = memory()
    chosen = np.random.default_rng(seed).integers(0, rows, samples).tolist()
    start = perf_counter()
    for row in chosen:
        sample(row)
    took = perf_counter() - start
    barrier.wait()
    private, proportional = memory()
    barrier.wait()
    out.put((private - before, proportional, took / samples * 1e6))


def measure(
    make: Callable[[], tuple[Callable[[int], Any], int]], workers: int, samples: int, out: Any
) -> None:
    """In a process of its own: make the data, and give it to forked workers."""
    start = perf_counter()
    sample, rows = make()
    prepared = perf_counter() - start
    fork = multiprocessing.get_context("fork")
    barrier, found = fork.Barrier(workers), fork.Queue()
    args = (sample, rows, samples, barrier, found)
    children = [fork.Process(target=work, args=(*args, seed)) for seed in range(workers)]
    for child in children:
        child.start()
    private, proportional, took = zip(*(found.get() for _ in children), strict=True)
    for child in children:
        child.join()
    mean = sum(private) / workers
    out.put(Cost(prepared, mean, sum(proportional) + memory()[1], float(np.median(took))))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=40, help="of the JSON file (default 40)")
    parser.add_argument("--workers", type=int, default=8, help="that share it (default 8)")
    parser.add_argument("--samples", type=int, default=20_000, help="each looks at (default 20000)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["ABLATE_HOME"] = name
        path = folder / "rows.json"
        rows = write(path, given.megabytes * MB)
        (folder / "images").mkdir()
        for number in range(1000):
            (folder / "images" / f"{number:06}.png").touch()
        limits = {"max_length": 10**6, "tiles": Tiles.whole(1)}

        def indexed() -> tuple[Callable[[int], Any], int]:
            source = FileData(conversations=path, images=folder)
            chat, content = Chat(build_tokenizer()), fingerprint(source)
            data = Conversations(source, content, chat, folder / "data", **limits)
            index = next(iter(data.parts.values())).index
            return index.tokens, len(index)

        def in_memory() -> tuple[Callable[[int], Any], int]:
            held, chat = json.loads(path.read_text()), Chat(build_tokenizer())

            def sample(row: int) -> Any:
                return chat.encode([conversation(held[row], folder).messages])

            return sample, len(held)

        fork = multiprocessing.get_context("fork")
        costs = []
        for make in indexed, in_memory:
            out = fork.Queue()
            process = fork.Process(target=measure, args=(make, given.workers, given.samples, out))
            process.start()
            costs.append(out.get())
            process.join()
        ours, theirs = costs
        tokens = int(Index(next((folder / "data").glob("rows-*"))).lengths().sum())
    print(f"{rows:,} rows, {tokens:,} tokens, {given.megabytes:.0f} MB, {given.workers} workers")
    print(f"{'':26} {'index':>10} {'in memory':>10} {'ratio':>7}")
    for title, one, other in [
        ("prepare, rows/s", rows / ours.prepare, rows / theirs.prepare),
        ("memory of a worker, MB", ours.private, theirs.private),
        ("memory of all, MB", ours.total, theirs.total),
        ("a sample, microseconds", ours.sample, theirs.sample),
    ]:
        print(f"{title:26} {one:10,.1f} {other:10,.1f} {one / other:6.3f}x")


if __name__ == "__main__":
    main()
