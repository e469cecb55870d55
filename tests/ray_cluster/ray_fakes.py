"""Drives micro/smoke on Ray with the fakes, hearing of what is lost soon: `ray_fakes.py HOME`."""

import sys
from pathlib import Path

import core_fakes

from ablate.config.study import load_study
from ablate.driver.events import Event
from ablate.driver.scheduler import drive
from ablate.launch.ray import jobs

CHANGES = ["seeds=[0]"]


def tell(event: Event) -> None:
    step = event.step.slug if event.step else ""
    print(event.what, step, event.message, flush=True)


if __name__ == "__main__":
    jobs.ASK, jobs.GRACE = 1.0, 2.0
    study = load_study("micro/smoke", CHANGES)
    home = Path(sys.argv[1])
    drive(study, backend="ray", jobs=3, home=home, executors=core_fakes.EXECUTORS, on_event=tell)
