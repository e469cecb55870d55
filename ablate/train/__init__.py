"""The training steps: pre-alignment, pre-training of the projector, fine-tuning.

Lightning is imported here, before anything else does, with a stand-in for torchmetrics: it asks for
the types of metrics alone, of which none is logged, and torchmetrics would import SciPy, matplotlib
and torchvision's models, a fifth of the CPU that a worker takes to begin. Whoever imports it later
has it whole.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from types import ModuleType


def _import_lightning() -> None:
    if "torchmetrics" in sys.modules:
        return
    stand_in = ModuleType("torchmetrics")
    stand_in.__spec__ = ModuleSpec("torchmetrics", None)
    stand_in.__dict__["__version__"] = version("torchmetrics")
    for name in "Metric", "MetricCollection":
        stand_in.__dict__[name] = type(name, (), {})
    sys.modules["torchmetrics"] = stand_in
    try:
        import lightning  # noqa: F401
    finally:
        del sys.modules["torchmetrics"]


_import_lightning()
