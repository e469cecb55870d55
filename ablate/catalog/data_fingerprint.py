"""What determines the content of a data source: always the bytes, never a path. Imports no torch.

Contents are hashed once, in threads, and remembered a folder at a time for as long as names, sizes
and times of its files stay. So 1.3 million images are read once; after that they are only listed.
"""

import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ablate.catalog.data_sources import DataSource, Files, WorldData, missing, parse, require
from ablate.errors import UserError
from ablate.files import disk_cache, sha256_file, sha256_json

WORLD_FORMAT, FILES_FORMAT = 1, 2
"""Raised when the same source would be prepared into other conversations or images."""

LONG = 2**30
"""Bytes of one folder whose reading is announced."""

CHUNK = 256
"""Files a thread hashes at a time."""


def fingerprint(source: Mapping[str, Any] | DataSource) -> dict[str, Any]:
    """What determines the content of a data source, as JSON.

    Where data is missing but every source declares its `rows`, it is `{"declared": ...}`: enough to
    plan with, and no key made of it is ever one made of content. Otherwise what is missing is a
    `UserError`.
    """
    source = parse(source)
    if isinstance(source, WorldData):
        from ablate.catalog.world_version import WORLD_VERSION

        return {**source.model_dump(), "format": WORLD_FORMAT, "world_version": WORLD_VERSION}
    parts = source.parts
    taken = {
        "canvas": source.canvas,
        "padding": list(source.padding),
        "seed": source.seed,
        "format": FILES_FORMAT,
    }
    if missing(source):
        if not all(files.rows for files in parts.values()):
            require([source])
        declared = [{"name": name, **_declared(files)} for name, files in parts.items()]
        return {"declared": declared, **taken}
    folders = {files.images for files in parts.values() if files.images}  # often one for all
    images = {folder: digest(folder) for folder in sorted(folders)}
    content = [
        {
            "conversations": digest(files.conversations),
            "images": images[files.images] if files.images else None,
            "weight": files.weight,
        }
        for files in parts.values()
    ]
    return {"parts": content, **taken}


def _declared(files: Files) -> dict[str, Any]:
    return {"rows": files.rows, "weight": files.weight, "origin": files.origin}


def digest(path: Path) -> str:
    """sha256 over the bytes of a file, or over the names and bytes of all files below a folder.

    Links are followed; names that begin with a dot are passed over. Raises `UserError` for a folder
    that holds itself.
    """
    if path.is_dir():
        return _folder(path.absolute(), ())
    stat = path.stat()
    return _contents(path.absolute().parent, [(path.name, stat.st_size, stat.st_mtime_ns)])


def _folder(folder: Path, above: tuple[tuple[int, int], ...]) -> str:
    stat = folder.stat()
    here = (stat.st_dev, stat.st_ino)
    if here in above:
        raise UserError(f"the folder {folder} links back to one above it")
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.is_file():
                stat = entry.stat()
                files.append((entry.name, stat.st_size, stat.st_mtime_ns))
    files.sort()
    names = [name for name, _, _ in files]
    inside = [[name, _folder(folder / name, (*above, here))] for name in sorted(folders)]
    return sha256_json([names, _contents(folder, files), inside])


def _contents(folder: Path, files: list[tuple[str, int, int]]) -> str:
    """sha256 over the bytes of these files (name, size, time) of one folder, in their order."""

    def read() -> str:
        size = sum(size for _, size, _ in files)
        if size > LONG:
            size_words = f"{len(files):,} files of {folder}, {size / 1e9:.1f} GB"
            print(f"reading {size_words}, to know them again", file=sys.stderr)
        paths = [folder / name for name, _, _ in files]
        chunks = [paths[first : first + CHUNK] for first in range(0, len(paths), CHUNK)]
        with ThreadPoolExecutor() as pool:  # hashing lets other threads run
            sums = list(pool.map(lambda chunk: [sha256_file(path) for path in chunk], chunks))
        return sha256_json(sums)

    return str(disk_cache("data", [str(folder), files], read))
