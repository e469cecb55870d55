"""A hub in a folder, in the place of the network, with a connection that can break."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import pytest

from ablate.hub import download

COMMIT = "c0ffee" * 6 + "c0ff"


class ToyHub:
    """`<root>/<kind>/<organisation>/<name>` holds a repository.

    `given`: the files it sent, in order. `breaks_at`: the file in whose midst the connection
    breaks. `sets`: what `datasets` loads, by name and configuration.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.given: list[str] = []
        self.breaks_at: str | None = None
        self.sets: dict[tuple[str, str | None], Any] = {}

    def folder(self, name: str, kind: str = "model") -> Path:
        """The folder of a repository, made where it is not there."""
        place = self.root / kind / name
        place.mkdir(parents=True, exist_ok=True)
        return place

    def info(self, kind: str, name: str, revision: str | None) -> Any:
        folder = self.root / kind / name
        if not folder.is_dir() and name not in {known for known, _ in self.sets}:
            raise OSError(f"404: no {kind} {name}")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [SimpleNamespace(rfilename=path.relative_to(folder).as_posix()) for path in files]
        return SimpleNamespace(sha=revision or COMMIT, siblings=names)

    def download(
        self, name: str, file: str, *, repo_type: str, revision: str, local_dir: Path
    ) -> str:
        source, target = self.root / repo_type / name / file, local_dir / file
        if file == self.breaks_at:
            half = local_dir / ".cache" / f"{target.name}.incomplete"
            half.parent.mkdir(parents=True, exist_ok=True)
            half.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
            raise ConnectionError("the connection broke")
        if not target.is_file():  # as the hub's own client: what is there is not sent again
            self.given.append(file)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        return str(target)

    def load_dataset(self, path: str, config: str | None, *, split: str, revision: str) -> Any:
        assert revision == COMMIT
        self.given.append(path)
        return self.sets[path, config]


def plug_in(monkeypatch: pytest.MonkeyPatch, root: Path) -> ToyHub:
    """Put a toy in the place of the hub."""
    hub = ToyHub(root)

    def info(kind: str) -> Any:
        return lambda self, name, revision=None, timeout=None: hub.info(kind, name, revision)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info("model"))
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info("dataset"))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.download)
    monkeypatch.setattr(datasets, "load_dataset", hub.load_dataset)
    monkeypatch.setattr(download, "unreachable", lambda: "")
    return hub
