"""The paper's studies of recipes and single experts, from their own YAML to their tables.

Weights, data and sizes alone are others: `eagle_toys`. One store takes them all, so what studies
share is done once, as it would be at full size.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eagle_study import runs_to_its_table


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resolution", "experts", "prealign", "stages"])
def test_a_study_of_the_paper_runs_through_all_stages_and_benchmarks_to_its_table(
    name: str, toys: Path, ablate: Callable[..., Any]
) -> None:
    runs_to_its_table(name, toys, ablate)


def test_one_arm_runs_through_all_stages_in_a_fraction_of_the_time(
    toys: Path, ablate: Callable[..., Any]
) -> None:
    runs_to_its_table("prealign", toys, ablate, {"arms": ["frozen, pre-aligned"]})
