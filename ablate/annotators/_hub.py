"""What annotators share that are models of transformers: a folder, or a repository of the hub."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from ablate.annotators._interface import Observer
from ablate.catalog import weights as hub
from ablate.errors import UserError
from ablate.files import sha256_files

CONTENT = {".json", ".safetensors", ".txt", ".model", ".jinja"}
"""Files of a model that decide what it tells. No pickle is read."""


class HubModel(Observer):
    """`called`: what stands before its `model` where a study names it."""

    called: ClassVar[str]

    def __init__(self, model: str) -> None:
        if not model:
            raise UserError(
                f"name its model, as in {self.called}ORGANISATION/NAME or {self.called}/FOLDER"
            )
        if not hub.REPOSITORY.fullmatch(model) and not (Path(model) / "config.json").is_file():
            raise UserError(f"no config.json in '{model}', nor is that the name of a repository")
        self.model = model

    @property
    def folder(self) -> Path | None:
        """Where its files lie; None where they are not here."""
        if not hub.REPOSITORY.fullmatch(self.model):
            return Path(self.model)
        config = hub.find(self.model, "config.json")
        return config.parent if config else None

    def weights(self) -> Mapping[str, Any]:
        """The content of its files; None while they are not here: enough to plan with."""
        if self.folder is None:
            return {"model": self.model, "content": None}
        files = sorted(path for path in self.folder.iterdir() if path.suffix in CONTENT)
        return {"sha256": sha256_files(files, self.folder)}

    def load(self, device: str) -> None:
        if self.folder is None:
            name = f"annotator {self.called}{self.model}"
            raise hub.missing(name, self.model, "config.json")
        with self.loading():
            self.network, self.processor = self.read(self.folder)
        self.network.eval().to(device)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """UserError of what the files of the model lack."""
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            reason = " ".join(str(error).split())[:300]
            name = f"annotator {self.called}{self.model}"
            raise UserError(f"{name}: cannot be loaded: {reason}") from error

    @abstractmethod
    def read(self, folder: Path) -> tuple[Any, Any]:
        """The network in this folder, and what prepares its inputs."""
