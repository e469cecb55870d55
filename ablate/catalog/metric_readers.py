"""The metrics that have a reader of their own: a file in `ablate/evaluate/metrics`, or another
package's. Nothing of them runs to name them.

A metric is asked for as a suite says it, in which a filter after a comma is not looked at.
"""

from collections.abc import Iterable
from importlib.metadata import EntryPoint

from ablate.errors import UserError
from fusion_zoo import Registry

READERS = Registry("metric", "ablate.metrics", "ablate.evaluate.metrics", "READER", UserError)


def name_of(metric: str) -> str | None:
    """The name of the reader of a metric; None if it has none."""
    name = metric.partition(",")[0]
    return name if name in READERS else None


def find(metric: str) -> EntryPoint | None:
    """Where the `MetricReader` of a metric is, or None."""
    name = name_of(metric)
    return READERS.entry(name) if name else None


def plug_ins(metrics: Iterable[str]) -> dict[str, EntryPoint]:
    """Those of the metrics, without their filters, that another package reads."""
    read = sorted({name for metric in metrics if (name := name_of(metric))})
    return {name: entry for name in read if (entry := READERS.plug_in(name))}
