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
    found = trained_candidate(named, overrides)
    if len(found.candidate.encoders) < 2:
        raise UserError(f"{found.candidate.name} is a mixture of one: there is none to mask")
    step = mask_step(found.evaluation, way)
    store = Store(home())
    infra = found.config.infra
    where = RunContext(chosen_device(infra.device), infra.model_dump(mode="json"))
    _make(store, step, where)
    from ablate.reports.redundancy import Redundancy

    record = store.record(step)
    assert record is not None
    run = MaskedRun.load(step, store.verified(step), record)
    masked = Redundancy(found.study, found.candidate, run)
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


def _as_data(found: "Redundancy") -> dict[str, Any]:
    from ablate.reports import redundancy
    from ablate.reports.frame import records

    return {
        "study": found.study.name,
        "candidate": found.candidate.name,
        "way": found.run.way,
        "experts": records(redundancy.expert_table(found)),
        "utilisation": records(redundancy.rate_table(found)),
        "gaps": records(redundancy.gap_table(found)),
        "pairs": records(redundancy.pair_table(found)),
        "masks": records(redundancy.part_table(found)),
        "rank_correlation": found.rank_correlation,
        "seconds": found.run.seconds,
    }


def _as_text(found: "Redundancy") -> str:
    from ablate.reports import redundancy

    tables = [
        (redundancy.expert_table(found), "Points lost where an expert is masked, and its CUR"),
        (redundancy.rate_table(found), "Conditional utilisation rate (CUR) by benchmarks"),
        (redundancy.gap_table(found), "Information gap"),
        (redundancy.pair_table(found), "Points that masking two loses beyond masking each"),
        (redundancy.part_table(found), "Every mask"),
    ]
    head = one_line(
        f"{found.candidate.name} of {found.study.name}: features of masked experts are replaced by "
        f"{INSTEAD[found.run.way]}"
    )
    form = None if on_terminal(sys.stdout) else "md"
    return "\n\n".join(
        [
            head,
            *(reporting.shown(frame, form, caption).rstrip() for frame, caption in tables),
            one_line(redundancy.summary(found)),
            redundancy.correlation(found),
        ]
    )
