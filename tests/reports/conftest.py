"""Studies that were played once for all the tests here; none of them changes what is below them."""

import json
from pathlib import Path
from typing import Any

import pytest
from synthetic import ARMS, ROUNDS, STUDY, Run, study

from reports.load import load
from reports.model import StudyResult
from reports.site import build

FAILED = "clip-micro@32+pix2struct-micro@128+dinov2-micro@64"
REASON = "the loss became NaN at step 41 </pre><script>alert(1)</script>"


@pytest.fixture(scope="session")
def greedy(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """Three rounds, the last of them with a failed candidate."""
    folder = tmp_path_factory.mktemp("greedy")
    subject = study(folder, STUDY + ROUNDS)
    Run(folder, subject).rounds(fail={FAILED: REASON})
    return load(subject, folder)


@pytest.fixture(scope="session")
def site(greedy: StudyResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the report of `greedy`."""
    return build(greedy, tmp_path_factory.mktemp("site") / "report").parent


@pytest.fixture(scope="session")
def arms(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """Three fusions of two encoders, of two seeds."""
    folder = tmp_path_factory.mktemp("arms")
    subject = study(folder, STUDY + "seeds: [0, 1]\n" + ARMS, "fusion")
    Run(folder, subject, images=10).rounds()
    return load(subject, folder)


@pytest.fixture
def empty(tmp_path: Path) -> StudyResult:
    """A study that never ran."""
    (tmp_path / "store").mkdir()
    return load(study(tmp_path, STUDY + ROUNDS), tmp_path)


def piece(folder: Path, name: str) -> Any:
    """A piece of the report's data, as its script hands it to the page."""
    text = (folder / "data" / f"{name}.js").read_text(encoding="utf-8")
    start = f'report.take("{name}", '
    assert text.startswith(start)
    return json.loads(text.removeprefix(start).removesuffix(");\n"))
