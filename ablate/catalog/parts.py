"""The parts of a model that a recipe may train, in the order in which data passes them.

The one place that names them all: `Mllm.parts` has the modules, `ModelCost.parts` the sizes. An
injection is one where it has parameters.
"""

from typing import Literal, get_args

Part = Literal["encoders", "fusion", "projector", "injection", "llm"]
PARTS: tuple[Part, ...] = get_args(Part)
BLOCKS: tuple[Part, ...] = ("encoders", "llm")
"""Those made of blocks, which can recompute their activations."""
READERS: frozenset[str] = frozenset({"llm"})
"""Those that learn also from a batch without images, as do injections that `reads_text`."""
