"""`ablate cancel`: ends what drives a study, and all that it started."""

from collections.abc import Sequence

from ablate.commands.output import note, say
from ablate.commands.status_text import at_work, namesakes
from ablate.commands.study_status import read_status
from ablate.config.study import load_study
from ablate.files import home
from ablate.store.artifacts import Store


def cancel(name: str, overrides: Sequence[str]) -> int:
    """End what works on the study, a line each on stdout; 1 if something is left, else 0."""
    from ablate.driver import cancel as ends

    study = load_study(name, overrides)
    endings = []
    for ending in ends.cancel(home(), study.id):
        endings.append(ending)
        say(f"left  {ending.what}: {ending.left}" if ending.left else f"ended {ending.what}")
    if not endings:
        note(f"nothing is at work on {study.name}{namesakes(study)}")
    if any(ending.left for ending in endings):
        return 1
    for table in at_work(read_status(study, Store(home()))):
        note(f"another study shares what is still at work\n{table}")
    return 0
