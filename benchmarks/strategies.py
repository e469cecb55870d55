"""What each search strategy finds and costs, beside training every candidate in full.

    python benchmarks/strategies.py [--repeat N] [--only WORDS]

Nothing is trained: the strategies themselves run, N times each, over results that are drawn from a
noise model (`ablate/search/noise_model.py`) round known truths:

- `paper`: the mixtures of figure 4 and table 12 on CLIP and ConvNeXt (v2), 16 of them, 11 published
  and 5 filled in by an additive model. Nobody has measured how far a run of Eagle spreads, so three
  guesses, 0.3, 0.5 and 1 point of the average. (The 11 lie 0.39 off an additive model, 6 degrees of
  freedom, which is noise and all that experts do together.) How far a part of the training misleads
  is as measured on the micro scale in proportion to that noise, or (`half`) half of it;
- `micro`: what all 32 mixtures of `micro/subsets` scored, mean of two seeds, with the noise
  that was measured, 1.1, and with 2.2;
- `winner`, `ties`, `null`: of 16 invented mixtures one 3 deviations of a run ahead, two as good and
  ahead of all others, all alike.

Fine-tuning is at `wsd`, so that a longer run begins as the shorter one did.

`finds`: how often a strategy finds the best; `within`: that, or one within the indifference;
`dropped`: how often a race dropped the best of its round by a bound (it promises 5 % at most), and
`given up`: without one, where no spread was measured yet; `hours`: mean hours beside `exhaustive`,
every mixture trained in full with one seed; `greedy`: beside plain greedy rounds; `as sure`: beside
exhaustive with as many seeds as it needs to be within the indifference as often (up to `MOST`).
`thrifty` is halving with less of each, of pre-training too.

The last row is what Mordal claims (Hu et al., ICLR 2026),
of 49 pairs of one encoder and a language model: 8.9 to 11.6 times fewer GPU-hours than a grid.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from ablate.config.study import Study, load_study
from ablate.search.noise_model import EARLIER, LAST, NoiseModel, NoisyTable
from ablate.search.results_csv import read_csv
from ablate.search.simulate import Simulation, simulate
from ablate.search.tabulated import Entry, ScoreTable, Table, paper_table

MOST = 8
WSD = "base.recipe.finetune.schedule=wsd"
THRIFTY = [
    {"stages": {"pretrain": 1 / 8, "finetune": 1 / 32}, "keep": 3},
    {"stages": {"finetune": 1 / 8}, "keep": 1},
    {"keep": 1},
]
"""Rungs of halving for 15 % of what training all of 16 mixtures takes."""
PAPER, MICRO = "eagle/rounds", "micro/rounds"
CLIP, PIX, SAM = "clip-micro@32", "pix2struct-micro@128", "sam-micro@128"
CONVNEXT, EVA = "convnext-micro@128", "eva02-micro@128"
POOL = (PIX, SAM, CONVNEXT, EVA)
SUBSETS = Path(__file__).parents[1] / "reports" / "micro_subsets.csv"


class World(NamedTuple):
    """Truths, the noise round them in points, and what is no difference."""

    name: str
    table: Table
    noise: NoiseModel
    indifference: float


def noise(run: float, share: float = 1.0) -> NoiseModel:
    """So much of a run, and of what crosses that share of what was measured on the micro scale."""
    crossing = {"prealign": EARLIER, "pretrain": EARLIER, "finetune": LAST}
    return NoiseModel(run, {stage: share * run * each for stage, each in crossing.items()})


def worlds() -> Iterator[World]:
    """All of them, the cheapest to tell apart first."""
    paper = paper_table(load_study(PAPER, [WSD]))
    for run in (0.3, 0.5, 1.0):
        yield World(f"paper, noise {run:g}", paper, noise(run), 1.0)
        yield World(f"paper, noise {run:g}, half", paper, noise(run, 0.5), 1.0)
    yield World("paper, noise 0.3, indifferent to 0.5", paper, noise(0.3), 0.5)
    micro = read_csv(SUBSETS, load_study(MICRO, ["explore.rounds=6"]))
    for run in (1.1, 2.2):
        yield World(f"micro, noise {run:g}", micro, noise(run), 2.0)
    subsets = [some for n in range(len(POOL) + 1) for some in combinations(POOL, n)]
    best, second = subsets[6], subsets[9]
    for name, high in (("winner", {best: 3.0}), ("ties", {best: 3.0, second: 3.0}), ("null", {})):
        truths = {one: 50.0 + high.get(one, 0.0) for one in subsets}
        yield World(name, table(truths, POOL), noise(1.0), 1.0)


def table(scores: Mapping[tuple[str, ...], float], pool: tuple[str, ...]) -> Table:
    """Scores of what is added to CLIP, of a study of the micro scale."""
    fields = [f"explore.pool={json.dumps(pool)}", f"explore.rounds={len(pool) + 1}"]
    study = load_study(MICRO, fields)
    points = {"+".join((CLIP, *added)): score for added, score in scores.items()}
    entries = [Entry(point, {"t": score}, point) for point, score in points.items()]
    return ScoreTable(study, "invented", entries)


def strategies(world: World) -> Iterator[tuple[str, Study]]:
    """What is compared, as a study each."""
    own = world.table.study
    name = PAPER if own.name == PAPER else MICRO
    pool = [title for title in own.shelf if title not in own.base.encoders]
    rounds = {"pool": pool, "rounds": len(pool) + 1}
    fields = {
        "rounds": rounds,
        "beam": rounds,
        "exhaustive": {"pool": pool},
        "racing": {**rounds, "indifference": world.indifference},
        "halving": {"pool": pool},
        "thrifty": {"kind": "halving", "pool": pool, "rungs": THRIFTY},
    }
    for kind, said in fields.items():
        explore = f"explore={json.dumps({'kind': kind, **said})}"
        yield kind, load_study(name, [WSD, explore])


def curve(noisy: NoisyTable, study: Study, world: World, good: float, repeat: int) -> list[float]:
    """How often exhaustive search is within the indifference, with one seed, two and so on, until
    it is so as often as wanted, at most `MOST`."""
    found: list[float] = []
    while len(found) < MOST and (not found or found[-1] < good):
        several = study.model_copy(update={"seeds": tuple(range(len(found) + 1))})
        found.append(simulate(noisy, several, repeat, world.indifference).good)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=2000, help="repetitions (default 2000)")
    parser.add_argument("--only", default="", help="worlds whose name begins like this")
    given = parser.parse_args()
    heads = ("strategy", "finds", "within", "dropped", "given up", "hours", "greedy", "as sure")
    print(" ".join(f"{head:>10}" for head in heads))
    for world in worlds():
        if not world.name.startswith(given.only):
            continue
        print(f"{world.name}: within {world.indifference:g}")
        noisy = NoisyTable(world.table, world.noise)
        found: dict[str, Simulation] = {}
        tried = dict(strategies(world))
        for name, study in tried.items():
            found[name] = simulate(noisy, study, given.repeat, world.indifference)
        whole, greedy = (found[name].expected or 0.0 for name in ("exhaustive", "rounds"))
        surest = max(one.good for one in found.values())
        sure = curve(noisy, tried["exhaustive"], world, surest, max(1, given.repeat // 4))
        for name, one in found.items():
            seeds = next((n for n, good in enumerate(sure, 1) if good >= one.good - 0.01), MOST)
            hours = one.expected or 0.0
            risks = ("" if n is None else f"{n:.1%}" for n in (one.dropped, one.given_up))
            dropped, given_up = risks
            print(
                f"{name:>10} {one.right:10.1%} {one.good:10.1%} {dropped:>10} {given_up:>10} "
                f"{hours / whole:9.2f}x {hours / greedy:9.2f}x {hours / (seeds * whole):9.2f}x",
                flush=True,
            )
    print("    Mordal, of its grid: 1/11.6 to 1/8.9, which is 0.09x to 0.11x")


if __name__ == "__main__":
    main()
