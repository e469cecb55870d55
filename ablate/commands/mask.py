"""`ablate mask`: what each expert does in one trained mixture, without training anything."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ablate.commands import report as reporting
from ablate.commands.making import make
from ablate.commands.output import emit_json, on_terminal
from ablate.commands.trained import trained_candidate
from ablate.errors import UserError
from ablate.files import home
from ablate.printable import one_line
from ablate.store.artifacts import Store
from ablate.store.masks import MaskedRun, mask_step

if TYPE_CHECKING:
    from ablate.reports.redundancy import Redundancy

INSTEAD = {"zeros": "zeros", "mean": "their mean over the images of a benchmark"}


def show(
    named: str, way: str, backend: str | None, overrides: Sequence[str], as_json: bool
) -> None:
    """Print what the candidate scores with some of its experts alone; made where it is missing, by
    the launcher `backend`, or None in this process.

    UserError for a candidate that is not scored, or whose weights are gone, for a mixture of one,
    and for a fusion whose experts cannot be masked.
    """
    trained = trained_candidate(named, overrides)
    if len(trained.candidate.encoders) < 2:
        raise UserError(f"{trained.candidate.name} is a mixture of one: there is none to mask")
    step = mask_step(trained.evaluation, way)
    make(step, backend, trained.config.infra, f"{len(step.spec['masks'])} masks of {step.slug}")
    from ablate.reports.redundancy import Redundancy

    store = Store(home())
    record = store.record(step)
    assert record is not None
    run = MaskedRun.load(step, store.verified(step), record)
    masked = Redundancy(trained.study, trained.candidate, run)
    if as_json:
        emit_json(_as_data(masked))
    else:
        print(_as_text(masked))  # printable, but for what makes a heading bold


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
