"""One training stage as a LightningModule in which everything follows from the step's number."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ablate.catalog.parts import READERS
from ablate.data.batch import IGNORE_INDEX, Batch
from ablate.data.collate import MicroBatch
from ablate.errors import UserError
from ablate.model.mllm import Mllm
from ablate.model.routing import weigh_experts
from ablate.train import checkpoint
from ablate.train.devices import summed
from ablate.train.objectives import Objective
from ablate.train.plan import Plan
from ablate.train.sharing import Sharing
from ablate.worker.process_group import StepRanks


class Training(L.LightningModule):  # type: ignore[misc]
    """Trains the parts of `model` that the plan names, by `objective`, for `steps` optimiser steps.

    whole: how many steps the stage has, of which `steps` may be a share; micro_batches: of one
    optimiser step in each process of `world`; states: the folder of its checkpoints; step: of the
    one to go on from, 0 for none; sharing: how the processes share the work; adapted: what learns
    in a part that has an adapter, in which nothing else does; reference: the model before the
    stage, for an objective of pairs. `step` counts the steps done. After
    each, `metrics` holds its number `step` (from 1), `loss` (the objective's mean over it),
    `grad_norm` before clipping, `tokens` learnt, and `lr` of each part; they are of the whole
    batch, and the same in all processes. Raises `UserError` at a loss or gradient that is not
    finite, before any weight takes it up.
    """

    def __init__(
        self,
        model: Mllm,
        plan: Plan,
        objective: Objective,
        *,
        steps: int,
        whole: int,
        micro_batches: int,
        seed: int,
        states: Path,
        step: int = 0,
        world: StepRanks,
        sharing: Sharing | None = None,
        adapted: Mapping[str, Sequence[nn.Parameter]] = MappingProxyType({}),
        reference: Mllm | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.plan = plan
        self.objective = objective
        self.steps = steps
        self.whole = whole
        self.micro_batches = micro_batches
        self.seed = seed
        self.states = states
        self.world = world
        self.sharing = sharing or Sharing()
        self.step = step
        self.metrics: dict[str, Any] = {}
        self._adapted = adapted
        self.reference = reference and reference.requires_grad_(False)
        self.fixed = self._fixed()
        self._micro_batch = self.step * micro_batches  # the number of the current one
        self._last_loss = "none yet"
        self._active: frozenset[str] = frozenset()  # the parts that take the current step
        self._is_shared = False
        self._saved = checkpoint.Checkpoint(states, self.step) if self.step else None
        if self._saved:
            self._saved.load_weights(self.parts, self.fixed)

    @property
    def parts(self) -> nn.ModuleDict:
        """The parts this stage trains."""
        learning = self.plan.rates
        parts = self.model.parts.items()
        return nn.ModuleDict({name: part for name, part in parts if name in learning})

    def _fixed(self) -> frozenset[str]:
        """The names in `parts` of the weights that do not learn beside an adapter."""
        learning = {
            id(parameter)
            for parameters_of_part in self._adapted.values()
            for parameter in parameters_of_part
        }
        return frozenset(
            f"{part}.{name}"
            for part in self._adapted
            for name, parameter in self.model.parts[part].named_parameters()
            if id(parameter) not in learning
        )

    @property
    def _readers(self) -> frozenset[str]:
        """The parts that learn also from a batch without images."""
        return READERS | ({"injection"} if self.model.injection.reads_text else frozenset())

    def set_learning(self, step: int) -> None:
        """Let exactly the parts learn that do so at `step`; the others work as in inference."""
        learning = self.plan.learning(step)
        if self.reference:
            self.reference.eval()
        for name, part in self.model.parts.items():
            part.train(name in learning)
            if not self._is_shared:  # where weights are, it is decided once
                part.requires_grad_(name in learning and name not in self._adapted)
                for parameter in self._adapted.get(name, ()):
                    parameter.requires_grad_(name in learning)
            for layer in part.modules():
                # In training mode only does it recompute its activations, if it is asked to at all;
                # what is inside, dropout too, stays as it is.
                if isinstance(layer, GradientCheckpointingLayer):
                    layer.training = True

    def configure_model(self) -> None:
        if not self._is_shared:
            self._is_shared = self.sharing.place_model(self.model, self, self.world)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups = []
        for name, part in self.parts.items():
            parameters = [parameter for parameter in part.parameters() if parameter.requires_grad]
            matrices = [parameter for parameter in parameters if parameter.ndim > 1]
            vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
            decays = (matrices, self.plan.weight_decay), (vectors, 0.0)
            groups += [
                {"part": name, "params": params, "weight_decay": decay}
                for params, decay in decays
                if params
            ]
        optimizer = torch.optim.AdamW(groups, lr=0.0, fused=True)
        self.sharing.hook(optimizer, self._drop_idle_gradients)
        return optimizer

    def on_train_start(self) -> None:
        if self._saved:
            self._saved.load_moments(self.parts, self.trainer.optimizers[0])
            self._saved = None

    def on_train_batch_start(self, batch: MicroBatch, batch_idx: int) -> None:
        if self._micro_batch % self.micro_batches == 0:
            self._loss = torch.zeros((), device=self.device)
            self._tokens = torch.zeros((), dtype=torch.int64, device=self.device)
            self._images = torch.zeros((), dtype=torch.int64, device=self.device)
        if batch_idx == 0 or self.step == self.plan.warm_projector:
            self.set_learning(self.step)
        self._seed_dropout()

    def training_step(self, batch: MicroBatch, batch_idx: int) -> Tensor:
        judged, targets = self._judged(batch.batch)
        mean = self.objective.mean if self.objective.by_token else self.objective
        loss = mean(*judged) * batch.share
        self._loss += loss.detach()
        if batch.share:
            self._tokens += (targets != IGNORE_INDEX).sum()
            self._images += len(batch.batch.pixels)
        if not loss.requires_grad:  # text alone, while only what sees images learns
            loss = loss + 0.0 * next(p for p in self.parameters() if p.requires_grad).sum()
        return loss * self.micro_batches * self.world.size  # it is divided by both

    def _judged(self, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor]:
        """What the objective is given, and the tokens that are learnt from."""
        if self.objective.of_experts:
            return weigh_experts(self.model, batch), batch.labels[:, 1:]
        by_token = self.objective.by_token
        predicted = self.model(batch, by_token=by_token)
        if self.reference is None:
            return predicted, predicted.targets
        with torch.no_grad():
            before = self.reference(batch, by_token=by_token)[0]
        return (*predicted, before), predicted.targets

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        loss, tokens, images = summed(self.world, self._loss, self._tokens, self._images)
        self._stop_unless_finite("loss", loss)
        awake = {*self.model.parts} if images else self._readers
        self._active = self.plan.learning(self.step) & awake
        for group in optimizer.param_groups:
            group["lr"] = self.plan.rate(group["part"], self.step, self.whole)
        self.metrics = {
            "step": self.step + 1,
            "loss": loss,
            "grad_norm": math.nan,  # until the gradients are clipped
            "tokens": int(tokens),
            "lr": {group["part"]: group["lr"] for group in optimizer.param_groups},
        }
        self._note_norm(self.sharing.clip(optimizer, self._drop_idle_gradients, self.plan.clip))

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        super().optimizer_step(*args, **options)
        self._note_norm(self.sharing.norm())

    def on_train_batch_end(self, outputs: Any, batch: MicroBatch, batch_idx: int) -> None:
        self._micro_batch += 1
        self.step = self._micro_batch // self.micro_batches

    def _drop_idle_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Take the zeros away that are no gradients: of parts that do not learn or had no input."""
        for group in optimizer.param_groups:
            if group["part"] not in self._active:
                for parameter in group["params"]:
                    parameter.grad = None

    def _note_norm(self, norm: float | None) -> None:
        if norm is None:
            return
        self._stop_unless_finite("gradient norm", norm)
        self.metrics["grad_norm"] = norm
        self._last_loss = f"{self.metrics['loss']:.4g} at step {self.step + 1}"

    def _seed_dropout(self) -> None:
        """Draw the micro-batch's random numbers from its number, so that none need be stored."""
        number = self._micro_batch * self.world.size + self.world.rank
        words = np.random.SeedSequence([self.seed, number]).generate_state(1)
        # Not `torch.manual_seed`: without a GPU in use that notes the stack each time, for ms.
        torch.default_generator.manual_seed(int(words[0]))
        if self.device.type == "cuda":
            torch.cuda.manual_seed(int(words[0]))

    def _stop_unless_finite(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise UserError(
                f"the {name} is {value} at step {self.step + 1} of {self.steps} (last loss: "
                f"{self._last_loss}); lower the learning rates or use more warm-up"
            )
