"""`ablate mask`: what each expert does in one trained mixture, without training anything."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ablate.commands import report as reporting
from ablate.commands.output import emit_json, note, on_terminal
from ablate.commands.trained import trained_candidate
from ablate.errors import UserError
from ablate.files import home
from ablate.launch.devices import chosen_device
from ablate.printable import one_line
from ablate.store.artifacts import Store
from ablate.store.masks import MaskedRun, mask_step
from ablate.store.steps import Step
from ablate.worker.context import RunContext
from ablate.worker.run import run_chain

if TYPE_CHECKING:
    from ablate.reports.redundancy import Redundancy

INSTEAD = {"zeros": "zeros", "mean": "their mean over the images of a benchmark"}
PAUSE = 1.0
"""Seconds between two looks at a step that another process has at hand."""


def show(named: str, way: str, overrides: Sequence[str], as_json: bool) -> None:
    """Print what the candidate scores with some of its experts alone; made where it is missing.

    UserError for a candidate that is not scored, or whose weights are gone, for a mixture of one,
    and for a fusion whose experts cannot be masked.
    """
    trained = trained_candidate(named, overrides)
    if len(trained.candidate.encoders) < 2:
        raise UserError(f"{trained.candidate.name} is a mixture of one: there is none to mask")
    step = mask_step(trained.evaluation, way)
    store = Store(home())
    infra = trained.config.infra
    where = RunContext(chosen_device(infra.device), infra.model_dump(mode="json"))
    _make(store, step, where)
    from ablate.reports.redundancy import Redundancy

    record = store.record(step)
    assert record is not None
    run = MaskedRun.load(step, store.verified(step), record)
    masked = Redundancy(trained.study, trained.candidate, run)
    if as_json:
        emit_json(_as_data(masked))
    else:
        print(_as_text(masked))  # printable, but for what makes a heading bold


def _make(store: Store, step: Step, where: RunContext) -> None:
    if store.record(step) is None:
        note(f"{len(step.spec['masks'])} masks of {step.slug} ...")
    while (outcome := run_chain(store.home, [step], where)).status == "busy":
        time.sleep(PAUSE)
    if outcome.status != "done":
        raise UserError(f"masks of {step.slug}: {outcome.message}")


def _as_data(masked: "Redundancy") -> dict[str, Any]:
    from ablate.reports import redundancy
    from ablate.reports.frame import records

    return {
        "study": masked.study.name,
        "candidate": masked.candidate.name,
        "way": masked.run.way,
        "experts": records(redundancy.expert_table(masked)),
        "utilisation": records(redundancy.rate_table(masked)),
        "gaps": records(redundancy.gap_table(masked)),
        "pairs": records(redundancy.pair_table(masked)),
        "masks": records(redundancy.part_table(masked)),
        "rank_correlation": masked.rank_correlation,
        "seconds": masked.run.seconds,
    }


def _as_text(masked: "Redundancy") -> str:
    from ablate.reports import redundancy

    tables = [
        (redundancy.expert_table(masked), "Points lost where an expert is masked, and its CUR"),
        (redundancy.rate_table(masked), "Conditional utilisation rate (CUR) by benchmarks"),
        (redundancy.gap_table(masked), "Information gap"),
        (redundancy.pair_table(masked), "Points that masking two loses beyond masking each"),
        (redundancy.part_table(masked), "Every mask"),
    ]
    head = one_line(
        f"{masked.candidate.name} of {masked.study.name}: "
        f"features of masked experts are replaced by {INSTEAD[masked.run.way]}"
    )
    form = None if on_terminal(sys.stdout) else "md"
    return "\n\n".join(
        [
            head,
            *(reporting.shown(frame, form, caption).rstrip() for frame, caption in tables),
            one_line(redundancy.summary(masked)),
            redundancy.correlation(masked),
        ]
    )
