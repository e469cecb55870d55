"""A machine on which nothing published is, and a toy hub that has what toy studies need."""

from collections.abc import Callable, Iterator
from pathlib import Path

import eagle_toys
import in_process
import pytest
from benchmark_toys import plug_in_judge
from eagle_study import EXPLORED
from hub_toys import ToyHub, plug_in
from published_toys import ENCODERS, LLM, publish

from ablate import design
from ablate.catalog import encoders as registry
from ablate.catalog import llms
from ablate.cost import estimate as cost
from ablate.hub import download
from ablate.store import steps

Call = Callable[..., in_process.Answer]


def forget() -> None:
    """Drops what this process remembers of names and files, of which toys are others."""
    for module in cost, design, download, steps:
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


@pytest.fixture(autouse=True)
def _bare_machine(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Toys have names, but no files: the home is empty, and so is the hub's own cache."""
    for name in "ABLATE_DATA", "ABLATE_WEIGHTS", "HF_HUB_OFFLINE":
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    known = registry._known()
    monkeypatch.setattr(registry, "_known", lambda: (*known, *ENCODERS))
    monkeypatch.setattr(llms, "SPECS", [*llms.SPECS, LLM])
    forget()
    yield
    forget()


@pytest.fixture
def toy_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyHub:
    """The hub, with the checkpoints of all toys."""
    hub = plug_in(monkeypatch, tmp_path / "hub")
    publish(hub)
    return hub


@pytest.fixture
def ablate() -> Call:
    """Calls the command line as a new process would find things."""

    def call(*words: str) -> in_process.Answer:
        forget()
        return in_process.ablate(*words)

    return call


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the studies need, which `ablate fetch` has to bring the weights to."""
    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATE_HOME", str(folder / "home"))
        for name in EXPLORED:
            eagle_toys.write_data(f"eagle/{name}")
        eagle_toys.write_suite(folder, folder / "home" / "datasets" / "benchmarks")
    return folder


@pytest.fixture
def toys(
    cluster: Path, _bare_machine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The paper's names mean toys, which are on the hub."""
    monkeypatch.setenv("ABLATE_HOME", str(cluster / "home"))
    monkeypatch.setattr(registry, "OURS", eagle_toys.ENCODERS)
    monkeypatch.setattr(registry, "_known", lambda: eagle_toys.ENCODERS)
    monkeypatch.setattr(llms, "SPECS", eagle_toys.LLMS)
    plug_in_judge(monkeypatch)
    eagle_toys.publish(plug_in(monkeypatch, tmp_path / "hub"))
    return cluster
