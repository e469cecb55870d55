"""What happens around the steps: the log, the checkpoints, and who is asked to stop."""

import json
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L

from ablate.data.bad import ErrorBudget
from ablate.data.collate import MicroBatch
from ablate.data.dataset import BadImage
from ablate.files import whole_lines
from ablate.humanize import duration, pace
from ablate.trackers import Tracking
from ablate.train import trunk
from ablate.train.checkpoint import CheckpointWriter
from ablate.train.module import Training
from ablate.worker.process_group import StepRanks

if TYPE_CHECKING:
    from ablate.worker.context import StepContext


LINES, QUIET = 20, 30.0
"""A step's log has a line for each such part of it, and one after so many seconds without."""


class MetricsAndCheckpoints(L.Callback):  # type: ignore[misc]
    """After each optimiser step logs its metrics, reports progress, and now and then saves: after
    `every` steps (None: not by their number), and so many minutes after the last time.

    Now and then it prints a line, too: the step, its loss and rates, the pace since the last line.

    A step is logged before the state that includes it is saved, so a resumed run finds at least
    the rows it goes on from. The state after step `branch` is kept as the stage's `trunk`.
    """

    def __init__(
        self,
        ctx: "StepContext",
        tracked: Tracking,
        writer: CheckpointWriter,
        every: int | None,
        minutes: float,
        branch: int = 0,
    ) -> None:
        self.ctx = ctx
        self.tracked = tracked
        self.writer = writer
        self.every = every
        self.seconds = 60 * minutes
        self.branch = branch
        self._saved = time.monotonic()
        self._taken_over = trunk.taken_over(ctx.work)
        self._logged = 0
        self._last_line = (0, 0.0)  # step and time of the last line

    def on_train_start(self, trainer: L.Trainer, module: Training) -> None:
        self._saved = time.monotonic()
        self._last_line = (module.step, self._saved)
        self._keep_trunk(module, module.step)  # a kill may have come just before it was kept

    def on_train_batch_end(self, trainer: L.Trainer, module: Training, *_: Any) -> None:
        step = module.metrics.get("step", 0)
        if step == self._logged:
            return  # in the middle of accumulation
        self._logged = step
        self.ctx.log(module.metrics)
        self.tracked.tell("train", module.metrics)
        steps_here, steps = (number - self._taken_over for number in (step, module.steps))
        self.ctx.progress(steps_here, steps, f"loss {module.metrics['loss']:.3f}")
        if module.world.leads:
            self._tell(step, module)
        self.writer.check()
        if step == self.branch or (step < module.steps and self._due(step, module.world)):
            self.writer.save(step, module.parts, trainer.optimizers[0])
            self._saved = time.monotonic()
            self._keep_trunk(module, step)

    def _due(self, step: int, world: StepRanks) -> bool:
        """Whether to save after this step. What is due by the clock, which is the leader's, is put
        off where the last state is still being written."""
        if self.every and step % self.every == 0:
            return True
        late = time.monotonic() - self._saved >= self.seconds and not self.writer.busy
        return bool(world.agree(late))

    def _keep_trunk(self, module: Training, step: int) -> None:
        if module.world.leads and step and step == self.branch:
            self.writer.wait()
            trunk.keep(self.ctx.prefix, self.ctx.work, step)

    def _tell(self, step: int, module: Training) -> None:
        """Print a line of the step, unless there was one a moment ago."""
        since, then = self._last_line
        now = time.monotonic()
        due = step % max(module.steps // LINES, 1) == 0 or now - then >= QUIET
        if not (due or step in (1, module.steps)):
            return
        self._last_line = (step, now)
        each_second = (step - since) / max(now - then, 1e-9)
        left = duration((module.steps - step) / each_second)
        rates = ", ".join(f"{part} {rate:.2e}" for part, rate in module.metrics["lr"].items())
        print(
            f"step {step:,} of {module.steps:,}  loss {module.metrics['loss']:.4f}  rate {rates}  "
            f"{pace(each_second * module.plan.batch_size)} samples  {left} left",
            file=sys.stderr,
        )


class BadImages(L.Callback):  # type: ignore[misc]
    """Counts the images that turned out to be unreadable against the budgets of their sources.

    Each row is counted once and written down in `path`, so that a resumed run goes on counting
    where it was. What the processes of `world` found in a step is put together, so that each raises
    `UserError`, at the same step in every run, where a budget is exceeded.
    """

    def __init__(self, path: Path, budgets: Mapping[str, ErrorBudget], world: StepRanks) -> None:
        self.path = path
        self.budgets = budgets
        self.world = world
        self._seen: set[tuple[str, int]] = set()
        self._bad: list[BadImage] = []  # in this step, here
        for line in world.agree(whole_lines(path) if world.leads else None):
            self._count(BadImage(*json.loads(line)))

    def on_train_batch_start(
        self, trainer: L.Trainer, module: Training, batch: MicroBatch, batch_idx: int
    ) -> None:
        self._bad += batch.bad

    def on_before_optimizer_step(self, *_: Any) -> None:
        if not any(budget.allowed for budget in self.budgets.values()):
            return  # then the first of them was an error
        bad_images = self.world.agree(self.world.gather(self._bad))
        self._bad = []
        for image in (BadImage(*fields) for some in bad_images for fields in some):
            if (image.source, image.number) not in self._seen:
                if self.world.leads:
                    with self.path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(image) + "\n")
                self._count(image)

    def _count(self, image: BadImage) -> None:
        self._seen.add((image.source, image.number))
        budget = self.budgets[image.source]
        budget.spend(1, [image.reason])
        if image.reason in budget.reasons:  # the first few
            print(f"passed over: {image.reason}", file=sys.stderr)


class RestoreSigterm(L.Callback):  # type: ignore[misc]
    """Puts the SIGTERM handler of whoever runs us back in place of Lightning's.

    Lightning's ends the process with exit code 0, as if training had succeeded. It is registered
    after `on_fit_start`, so this must come later.
    """

    def __init__(self) -> None:
        self.outer = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.outer)
