"""The paper's search, its fusions and its released models, from their own YAML to their tables.

Weights, data and sizes alone are others: `eagle_toys`. One store takes them all, so what studies
share is done once, as it would be at full size.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eagle_study import runs_to_its_table


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rounds", "fusion", "released"])
def test_a_study_of_the_paper_runs_through_all_stages_and_benchmarks_to_its_table(
    name: str, toys: Path, ablate: Callable[..., Any]
) -> None:
    runs_to_its_table(name, toys, ablate)
