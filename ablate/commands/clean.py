"""`ablate clean`: removes what candidates that were given up left for a larger share of them."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from ablate.commands.output import note, say
from ablate.config.study import Study, load_study
from ablate.files import home, writing
from ablate.humanize import size
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.results import StoredResults
from ablate.store.states import StepStates


def run(name: str, overrides: Sequence[str], dry_run: bool) -> None:
    """Remove it, or only list it, a line each with its size on stdout."""
    study, store = load_study(name, overrides), Store(home())
    total = 0
    for folder in given_up(study, store):
        files = [path for path in folder.rglob("*") if path.is_file()]
        held = sum(path.stat().st_size for path in files)
        total += held
        if not dry_run:
            with writing(store.home):
                shutil.rmtree(folder)
        say(f"{'would remove' if dry_run else 'removed'} {folder} ({size(held)})")
    note(f"{size(total)} in all" if total else f"nothing of {study.name} can be removed")


def given_up(study: Study, store: Store) -> list[Path]:
    """The folders of what steps done in part have left and no candidate of the study goes on from.

    A round that is open may still choose any of its candidates; a step that failed, or has not
    ended, may still begin from there.
    """
    results = StoredResults(store, study)
    states = StepStates(store, store.record)
    turns = rounds_so_far(study, results)
    decided = {turn.round for turn in turns if turn.decision and turn.decision.settled}
    wanted: set[Path] = set()
    left: set[Path] = set()
    for turn in turns:
        for candidate in turn.candidates:
            for step in results.steps(candidate):
                over = turn.round in decided and states.record(step)
                (left if over else wanted).add(store.prefix(step))
    return sorted(folder for folder in left - wanted if folder.is_dir())
