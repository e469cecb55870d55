"""The Hugging Face hub over the network: whether it answers, what it holds, and a file of it.

What is downloaded is noted in `fetched.json` of the folder it goes to: by its name there the
repository, the commit (`revision`) and the sha256. Imports no torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal, NamedTuple

from ablate.errors import UserError
from ablate.files import read_json, sha256_file, write_json

PATIENCE = 10.0
"""Seconds in which the hub must answer."""

NOTES = "fetched.json"


class Repository(NamedTuple):
    """A repository of the hub at one commit, and the names of its files."""

    name: str
    kind: Literal["model", "dataset"]
    commit: str
    files: frozenset[str]

    def download(self, file: str, folder: Path) -> Path:
        """Get `file` to its place below `folder`, whole or not at all.

        A connection that breaks is taken up where it broke; a file that is there whole is not sent
        again. Raises UserError if it cannot be had.
        """
        from huggingface_hub import hf_hub_download

        if file not in self.files:
            raise UserError(f"{self.name} on the hub holds no {file}")
        with answered(self.name):
            path = hf_hub_download(
                self.name, file, repo_type=self.kind, revision=self.commit, local_dir=folder
            )
        note(folder, file, self.name, self.commit, sha256_file(Path(path)))
        return Path(path)


@cache
def repository(
    name: str, kind: Literal["model", "dataset"] = "model", revision: str | None = None
) -> Repository:
    """The repository at `revision`, or as it is now; the same one as long as this process lives.

    Raises UserError if there is no network, no such repository, or no leave to read it.
    """
    from huggingface_hub import HfApi

    if reason := unreachable():
        raise UserError(reason)
    with answered(name):
        ask: Any = HfApi().model_info if kind == "model" else HfApi().dataset_info
        info = ask(name, revision=revision, timeout=PATIENCE)
    files = frozenset(file.rfilename for file in info.siblings or ())
    return Repository(name, kind, str(info.sha), files)


@cache
def unreachable() -> str:
    """Why the hub cannot be asked; empty if it can. Tried once, so that nothing waits again."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception as error:  # whatever the HTTP library of this version raises
        return f"{constants.ENDPOINT} does not answer: {_reason(error)}"
    return ""


@contextmanager
def answered(name: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes a UserError about the repository `name`."""
    from huggingface_hub.errors import GatedRepoError

    try:
        yield
    except UserError:
        raise
    except GatedRepoError:
        raise UserError(
            f"{name} is for those who asked for it: ask at https://huggingface.co/{name}, then "
            "`hf auth login`"
        ) from None
    except Exception as error:  # the hub's libraries, the HTTP library below them, the disk
        raise UserError(f"{name} cannot be fetched: {_reason(error)}") from error


def note(folder: Path, name: str, repository: str, revision: str, sha256: str) -> None:
    """Note in `fetched.json` of `folder` where what is called `name` in it came from."""
    entry = {"repository": repository, "revision": revision, "sha256": sha256}
    write_json(folder / NOTES, {**notes(folder), name: entry})


def notes(folder: Path) -> dict[str, dict[str, str]]:
    """What is noted of the files in `folder`, by their names; empty if nothing was fetched."""
    path = folder / NOTES
    known: dict[str, dict[str, str]] = read_json(path) if path.is_file() else {}
    return known


def _reason(error: Exception) -> str:
    return shorten(str(error), 240, placeholder=" ...") or type(error).__name__
