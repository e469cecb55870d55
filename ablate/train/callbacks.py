"""What happens around the steps: the log, the checkpoints, and who is asked to stop."""

import signal
import threading
from typing import TYPE_CHECKING, Any

import lightning as L

from ablate.train import checkpoint
from ablate.train.module import Training

if TYPE_CHECKING:
    from ablate.worker import StepContext


class Journal(L.Callback):  # type: ignore[misc]
    """After each optimiser step logs its metrics, reports progress, and now and then saves.

    A step is logged before the state that includes it is saved, so a resumed run finds at least
    the rows it goes on from.
    """

    def __init__(self, ctx: "StepContext", every: int) -> None:
        self.ctx = ctx
        self.every = every
        self._logged = 0

    def on_train_batch_end(self, trainer: L.Trainer, module: Training, *_: Any) -> None:
        step = module.metrics.get("step", 0)
        if step == self._logged:
            return  # in the middle of accumulation
        self._logged = step
        self.ctx.log(module.metrics)
        self.ctx.progress(step, module.steps, f"loss {module.metrics['loss']:.3f}")
        if step % self.every == 0 and step < module.steps:
            checkpoint.save(module.state, step, module.parts, trainer.optimizers[0])


class OuterSigterm(L.Callback):  # type: ignore[misc]
    """Puts the SIGTERM handler of whoever runs us back in place of Lightning's.

    Lightning's ends the process with exit code 0, as if training had succeeded. It is registered
    after `on_fit_start`, so this must come later.
    """

    def __init__(self) -> None:
        self.outer = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.outer)
