"""Published weights on this machine, by their name on the Hugging Face hub and without a network.

A repository `organisation/name` is looked for in the folder `organisation/name` of
`weights_home()`, which is taken to be of whatever revision is asked for, then in the cache of the
hub's own tools (`$HF_HOME`). Weights are read as safetensors only: of a published pickle `ablate
fetch` makes a file of the name that `safetensors_name` gives. Imports no torch.
"""

import os
import re
from pathlib import Path

from ablate.errors import UserError
from ablate.files import home, read_json
from ablate.home import Home

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
"""What the name of a repository looks like: `organisation/name`."""


def weights_home() -> Path:
    """The folder of published weights: `$ABLATE_WEIGHTS`, or else `weights` in `home()`."""
    folder = os.environ.get("ABLATE_WEIGHTS") or Home(home()).weights
    return Path(folder).expanduser().absolute()


def safetensors_name(file: str) -> str:
    """What a published file is called as safetensors: `a/x.pth` -> `a/x.safetensors`.

    As the hub does, `pytorch_model*.bin` becomes `model*.safetensors`; an index goes by its shards.
    """
    name = re.sub(r"\.(bin|pt|pth|ckpt)(?=$|\.index\.json$)", ".safetensors", file)
    return name if name == file else name.replace("pytorch_model", "model")


def find(repository: str, file: str, revision: str | None = None) -> Path | None:
    """Where a file of a repository lies on this machine; None if it is not here."""
    file_here = weights_home() / repository / file
    if file_here.is_file():
        return file_here
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(repository, file, revision=revision)
    except HFValidationError:  # no name a repository could have
        return None
    return Path(cached) if isinstance(cached, str) else None


def shards(index: Path) -> dict[str, str]:
    """Which file beside the index holds each tensor; UserError if the index is damaged."""
    try:
        places = {str(name): str(file) for name, file in read_json(index)["weight_map"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"cannot read the index of weights {index}: {error!r}") from error
    for file in places.values():
        if Path(file).name != file:
            raise UserError(f"the index of weights {index} names '{file}', which is not beside it")
    return places


def whole(path: Path) -> bool:
    """Whether the file of weights is there, and all the files beside it if it is an index."""
    if not path.is_file() or not path.name.endswith(".index.json"):
        return path.is_file()
    try:
        return all((path.parent / file).is_file() for file in shards(path).values())
    except UserError:
        return False


def find_whole(repository: str, file: str, revision: str | None = None) -> Path | None:
    """Where weights lie as safetensors, an index with all its files beside it; else None."""
    path = find(repository, safetensors_name(file), revision)
    return path if path and whole(path) else None


def find_weights(what: str, repository: str, file: str, revision: str | None = None) -> Path:
    """Where the weights in `file` lie as safetensors (or the index of several such files).

    `what` begins the error. Raises UserError if they are not here, saying where they were looked
    for, or if they are here as a pickle only.
    """
    name = safetensors_name(file)
    if path := find(repository, name, revision):
        return path
    if pickled := find(repository, file, revision):
        raise unconverted(what, pickled)
    raise missing(what, repository, name)


def missing(what: str, repository: str, file: str) -> UserError:
    """The error of a file that is not on this machine."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return UserError(
        f"{what}: no {file} of {repository}, neither in {weights_home() / repository} "
        f"nor in the hub's cache {HF_HUB_CACHE}; `ablate fetch STUDY` gets it, with a network"
    )


def unconverted(what: str, pickled: Path) -> UserError:
    """The error of a file that is here as a pickle, which could run any code when it is loaded."""
    target = pickled.with_name(safetensors_name(pickled.name))
    return UserError(
        f"{what}: {pickled} is a pickle and must first be converted, to {target}: `ablate fetch "
        "STUDY` does that to what is published, ablate.encoders.tensors.convert to any other"
    )
