"""lmms-eval's side effects, kept where they belong."""

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import numpy as np
import torch

from ablate.catalog.suites import Suite


@contextmanager
def contained(suite: Suite) -> Iterator[None]:
    """Keep lmms-eval's side effects here: prints to stdout, seeds it sets, what it reads of ours.

    Of the environment a scorer sees the suite's judge and nothing else that would move a score.
    """
    before = {name: os.environ.pop(name, None) for name in _READ}
    if judge := next((task.judge for task in suite.tasks if task.judge), None):
        os.environ["MODEL_VERSION"] = judge
    python, numpy = random.getstate(), np.random.get_state()
    with redirect_stdout(sys.stderr), torch.random.fork_rng():
        import lmms_eval.evaluator  # on import it has loguru write to stdout
        import lmms_eval.utils
        from loguru import logger

        lmms_eval.utils._git_output = _no_git
        logger.remove()
        logger.add(sys.stderr, level="INFO")
        try:
            yield
        finally:
            logger.remove()  # the step's log it writes to is about to be closed
            os.environ.pop("MODEL_VERSION", None)
            os.environ |= {name: value for name, value in before.items() if value is not None}
            random.setstate(python)
            np.random.set_state(numpy)


def _no_git(*words: str) -> str:
    """In place of eight processes a task, which ask git of what commit lmms-eval is."""
    raise FileNotFoundError("git is not asked")


_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_READ = (*_RANKS, "MODEL_VERSION", "NUM_IMAGE")
"""Variables lmms-eval reads: processes it would wait for, the judge, copies of each image."""
