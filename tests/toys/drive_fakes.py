"""Drives micro/smoke with the fakes: `drive_fakes.py HOME BACKEND JOBS`; prints the decisions."""

import json
import sys
from pathlib import Path

import core_fakes

from ablate.config.study import load_study
from ablate.driver.scheduler import drive
from ablate.errors import UserError

if __name__ == "__main__":
    home, backend, jobs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    try:
        rounds = drive(
            load_study("micro/smoke", ["seeds=[0]"]),
            backend=backend,
            jobs=jobs,
            home=home,
            executors=core_fakes.EXECUTORS,
        )
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print(json.dumps([turn.decision.to_json() if turn.decision else None for turn in rounds]))
