"""A report as it is opened: its pages in a browser, and the data that its scripts take."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]
PHONE = {"width": 390, "height": 800}


def amiss(page: "Page") -> list[tuple[str, list[str]]]:
    """What axe calls serious or critical on a page, and where first."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"preload": False, "resultTypes": ["violations"]}
    found = Axe().run(page, options=options).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    return [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in serious]


def piece(folder: Path, name: str) -> Any:
    """A piece of the report's data, as its script hands it to the page."""
    text = (folder / "data" / f"{name}.js").read_text(encoding="utf-8")
    start = f'report.take("{name}", '
    assert text.startswith(start)
    return json.loads(text.removeprefix(start).removesuffix(");\n"))
