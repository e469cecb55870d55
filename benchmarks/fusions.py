"""Forward and backward of each fusion at the paper's shapes, against channel concatenation.

    python benchmarks/fusions.py [--repeats N]

B batch, N tokens, C channels, H W grid. One image of CLIP (1024 channels) and ConvNeXt (3072), both
32x32, fp32 on the processor. Each fusion runs in a process of its own, so its peak is its own:
memory is what the process grew by over its modules and maps, and time the best of a few runs, as
other work on the machine only ever adds. LLaVA-HR's base is given no blocks, so
its figure is what the fusion adds to them.
"""

import argparse
import json
import resource
import subprocess
import sys
from time import perf_counter

import fusion_zoo

BASELINE = "channel_concat"


def measure(name: str, repeats: int) -> dict[str, float]:
    """Least seconds and peak megabytes of forward + backward, in this process."""
    import torch
    from torch import Tensor

    from fusion_zoo import FeatureMap, MapShape

    class NoBlocks:
        grid = (32, 32)
        num_blocks = 0

        def start(self) -> Tensor:
            return maps[0].tokens()

        def run(self, tokens: Tensor, first: int, last: int) -> Tensor:
            return tokens

    torch.manual_seed(0)
    shapes = [MapShape(1024, 32, 32), MapShape(3072, 32, 32)]
    fusion = fusion_zoo.build(name, shapes, (32, 32))
    maps = [FeatureMap(torch.randn(1, *shape, requires_grad=True)) for shape in shapes]
    arriving = [torch.randn(1, *segment) for segment in fusion.segments]
    seconds, before = [], peak_mb()
    for _ in range(repeats + 1):
        fusion.zero_grad()
        start = perf_counter()
        torch.autograd.backward(fusion(maps, NoBlocks()), arriving)
        seconds.append(perf_counter() - start)
    return {
        "seconds": min(seconds[1:]),
        "mb": peak_mb() - before,
        "parameters": fusion.num_parameters,
        "gflops": fusion.flops() / 1e9,
    }


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each (default 5)")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only, arguments.repeats)))
        return
    found = {}
    for name in [BASELINE, *(n for n in fusion_zoo.names() if n != BASELINE)]:
        print(f"measuring {name}", file=sys.stderr)
        command = [sys.executable, __file__, "--only", name, "--repeats", str(arguments.repeats)]
        found[name] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    unit = found[BASELINE]
    titles = ("ms", "time", "MB", "memory", "params M", "GFLOP")
    print(f"{'fusion':16}" + "".join(f"{title:>9}" for title in titles))
    for name, row in found.items():
        print(
            f"{name:16}{row['seconds'] * 1e3:9.1f}{row['seconds'] / unit['seconds']:8.1f}x"
            f"{row['mb']:9.0f}{row['mb'] / unit['mb']:8.1f}x"
            f"{row['parameters'] / 1e6:9.2f}{row['gflops']:9.2f}"
        )


if __name__ == "__main__":
    main()
