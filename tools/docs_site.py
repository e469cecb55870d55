"""What mkdocs asks of us as it builds the site: pages that are not in docs/, links that leave it.

The README is the site's first page, and the changelog and the like are pages, too. The repository
has no address, so that a link to a file of it, which works where one reads the repository, becomes
the file's name.
"""

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

from tools.docs_reference import PAGES

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
AT_THE_ROOT = {"README.md": "index.md", "CHANGELOG.md": "CHANGELOG.md"}
AT_THE_ROOT |= {"CONTRIBUTING.md": "CONTRIBUTING.md"}
"""Files of the repository outside docs/ that are pages, and which."""

_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[(?P<text>[^][]+)\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
_PICTURE = re.compile(r"(!\[[^]]*\]\()docs/")


def on_files(files: Files, config: "MkDocsConfig") -> Files:
    """Add the pages that are not in docs/."""
    for path, page in AT_THE_ROOT.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    for page, write in PAGES.items():
        files.append(File.generated(config, page, content=write()))
    return files


def on_page_markdown(markdown: str, page: "Page", config: "MkDocsConfig", files: Files) -> str:
    """Point links from the repository's paths to the site's."""
    roots = {page: path for path, page in AT_THE_ROOT.items()}
    uri = page.file.src_uri
    if page.parent is None:
        page.meta["hide"] = ["navigation"]  # it is alone in its tab
    path = roots.get(uri, f"docs/{uri}")
    parts = _FENCED.split(markdown)
    parts[::2] = [with_links_of_site(text, path, files) for text in parts[::2]]
    return "".join(parts)


def with_links_of_site(text: str, path: str, files: Files) -> str:
    """Text of the file at this path in the repository, its links as the site has them."""
    here = posixpath.dirname(AT_THE_ROOT.get(path, path.removeprefix("docs/")))

    def link(match: re.Match[str]) -> str:
        words, target = match["text"], match["target"]
        if re.match(r"\w+:", target):
            return match[0]
        aim = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        page = AT_THE_ROOT.get(aim, aim.removeprefix("docs/") if aim.startswith("docs/") else "")
        file = files.get_file_from_path(page)
        if file is None:  # a link to nothing stays one, and is warned of
            return file_name(words, aim) if (ROOT / aim).exists() else match[0]
        if words == aim and file.page:
            words = file.page.title or words
        return f"[{words}]({posixpath.relpath(page, here or '.')}{match['anchor'] or ''})"

    return _PICTURE.sub(r"\1", _LINK.sub(link, text))


def file_name(words: str, path: str) -> str:
    """What stands for a link of these words to a file that is no page."""
    named = path.endswith(words.strip("`").rstrip("/"))
    return f"`{path}`" if named else f"{words} (`{path}`)"
