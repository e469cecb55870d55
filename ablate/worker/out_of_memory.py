"""Running out of memory: how it shows itself, and the settings that help."""

import re
from collections.abc import Mapping
from typing import Any

from ablate.catalog import step_kinds
from ablate.catalog.sharing import SHARE_WEIGHTS


def advice(error: BaseException, kind: str, infra: Mapping[str, Any], more_memory: str) -> str:
    """What to change for a step of this kind, as the end of an error line; `""` for other errors.

    `more_memory`: what to change where it is the machine's own that was not enough.
    A GPU's memory is told by torch's error, which is recognised by its name: torch is not imported.
    That a data loader's process was killed, as the kernel does for memory, torch says in words.
    """
    if isinstance(error, MemoryError) or LOADER_KILLED.search(str(error)):
        return f"; {more_memory}"
    names = {cls.__name__ for cls in type(error).__mro__}
    if "OutOfMemoryError" not in names and "CUDA out of memory" not in str(error):
        return ""
    size = infra.get("micro_batch_size")
    changes = [f"infra.micro_batch_size lower (now {size or 'all'})"] if size != 1 else []
    if step_kinds.find(kind).trains:
        if infra.get("gradient_checkpointing") is not True:
            changes.append("infra.gradient_checkpointing to true")
        if infra.get("strategy") not in SHARE_WEIGHTS:
            changes.append("infra.strategy to fsdp over more infra.devices")
    return f"; set {', or '.join(changes)}" if changes else "; it takes a GPU with more memory"


LOADER_KILLED = re.compile(r"DataLoader worker .* is killed by signal: Killed")
