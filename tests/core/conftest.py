"""A study whose steps are done by fakes, in this process and in worker processes alike."""

import os
from collections.abc import Mapping
from pathlib import Path

import core_fakes
import pytest

from ablate.study import Study, load_study


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Executors that train nothing, importable by worker processes too."""
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    return core_fakes.EXECUTORS


@pytest.fixture
def small() -> Study:
    """Two rounds over two experts: 3 candidates of 12 steps."""
    return load_study("micro/smoke", ["seeds=[0]"])
