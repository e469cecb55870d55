"""When steps ran."""

from collections.abc import Iterable
from datetime import UTC, datetime

from ablate.reports.model import StepResult


def dates(steps: Iterable[StepResult]) -> str:
    """When they ran, from the first to the last, in UTC; empty before one has ended."""
    ran = [step.record for step in steps if step.record.get("ended")]
    if not ran:
        return ""
    first = min(float(record.get("started") or record["ended"]) for record in ran)
    last = max(float(record["ended"]) for record in ran)
    days = [datetime.fromtimestamp(moment, UTC) for moment in (first, last)]
    begun, ended = (f"{day:%Y-%m-%d %H:%M}" for day in days)
    same = days[0].date() == days[1].date()
    return f"{begun} to {f'{days[1]:%H:%M}' if same else ended} UTC"
