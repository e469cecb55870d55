"""What a model's files of JSON in Hugging Face's format say of it. Imports no torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.files import read_json


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a file; UserError where there is none to be read."""
    try:
        config = read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: is no mapping")
    return config


def whole_number(path: Path, config: Mapping[str, Any], key: str, at: int = 0) -> int:
    """A whole number above 0 that the configuration in `path` must say, or the one `at` this place
    of a list that it says. UserError for anything else."""
    value = config.get(key)
    number = value[at] if isinstance(value, list) and value else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise UserError(f"{path}: {key} must be a whole number above 0, got {json.dumps(value)}")
    return number
