"""The strategy of another package, as docs/extending/strategy.md tells to write one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import strategy_toys

from ablate.search import decision


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the package lies that brings `backward`."""
    site = tmp_path_factory.mktemp("site")
    strategy_toys.install(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield site / "their_strategies" / "backward.py"


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions of many rounds in little time."""
    monkeypatch.setattr(decision, "DRAWS", 20)
