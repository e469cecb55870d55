"""The metrics that have a reader of their own: a file in `ablate/evaluate/metrics`, or another
package's. Nothing of them runs to name them.
"""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path

from fusion_zoo._registry import installed

GROUP = "ablate.metrics"
FOLDER = Path(__file__).parents[1] / "evaluate" / "metrics"


def names() -> list[str]:
    """Every one, ours and other packages', in alphabetical order."""
    return sorted({*_ours(), *installed(GROUP)})


def find(metric: str) -> EntryPoint | None:
    """The `MetricReader` of a metric, in which a filter after a comma is not looked at; or None."""
    name = metric.partition(",")[0]
    return _ours().get(name) or plug_ins([name]).get(name)


def plug_ins(metrics: Iterable[str]) -> dict[str, EntryPoint]:
    """Those of the metrics, without their filters, that another package reads."""
    wanted = {metric.partition(",")[0] for metric in metrics} - _ours().keys()
    return {name: entry for name, entry in sorted(installed(GROUP).items()) if name in wanted}


@cache
def _ours() -> dict[str, EntryPoint]:
    return {
        file.stem: EntryPoint(file.stem, f"ablate.evaluate.metrics.{file.stem}:READER", GROUP)
        for file in sorted(FOLDER.glob("[!_]*.py"))
    }
