"""`ablate run`: drive a study to its end, then print every round's table and build the report."""

from collections.abc import Sequence

from ablate.commands import planning, reporting
from ablate.commands.output import note
from ablate.commands.survey import look
from ablate.cost import check_room
from ablate.data.spec import require
from ablate.fetch import require_weights
from ablate.files import home
from ablate.store import Store
from ablate.study import load_study


def run(
    name: str,
    overrides: Sequence[str],
    last: int | None,
    backend: str,
    jobs: int | None,
    dry_run: bool,
) -> None:
    """Make rounds 1 to `last` (default: all) of the study true."""
    study = load_study(name, overrides)
    store = Store(home())
    found = look(study, store, last)
    if dry_run:
        print(planning.as_text(found))
        return
    if study.infra.device == "cuda":
        check_room(found.candidates)
    require(study.learnt_from.values())
    require_weights(study)
    from ablate.scheduler import drive
    from ablate.view import watching

    with watching(study, store, last) as on_event:
        drive(study, last, backend, jobs, home=store.home, on_event=on_event)
    print(reporting.render(study, "md", last))
    note("building the report ...")
    print(f"report: {reporting.build(study)}")
