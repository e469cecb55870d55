"""How figures are drawn: one style and width; as a fragment of a page, and as files to keep.

The colours of a fragment are CSS variables, so that it follows its page into dark mode. The same
figure gives the same bytes.
"""

import io
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from ablate.errors import UserError
from ablate.files import atomic_file

# Stand-ins that `svg` replaces by the page's variables; as they are, they make a light figure.
INK, MUTED, LINE, ACCENT, SOFT = "#1d2527", "#66716f", "#d9dedb", "#0072b2", "#9db9b8"
_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", ACCENT: "accent", SOFT: "soft"}
SECOND = "#d55e00"
"""Of a second series. It and `ACCENT` are Okabe and Ito's blue and vermilion (Color Universal
Design, 2008), told apart by the colour-blind; what they stand for has a marker or hatch of its own
too."""
PAPER = "#ffffff"
"""What lies below a figure; a hollow marker is filled with it."""
WIDTH = 5.0
"""Inches of every figure on a page: its text can be read where a phone shows it whole."""
STYLE: Any = {
    "svg.hashsalt": "ablate",
    "svg.fonttype": "none",
    "text.parse_math": False,  # names are the author's words, never formulas
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "axes.labelsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}
COLUMNS = MappingProxyType({1: 3.25, 2: 6.875})
"""Inches of a figure over one or two columns of a two-column page (that of CVPR and IEEE)."""
PRINT = 8.0
"""Points of the text in print."""


class Point(NamedTuple):
    """What a point of a figure is: in words, and the page it leads to."""

    text: str
    page: str


class Points(Line2D):
    """Marks by their gids, each drawn as an artist of its own: ten thousand of these are 100 MB."""

    def __init__(
        self, marked: Mapping[str, tuple[float, float]], marker: str, color: str, within: str
    ) -> None:
        """`within`: what the marker is filled with."""
        x, y = zip(*marked.values(), strict=True)
        how: Any = {"color": color, "markerfacecolor": within, "zorder": 3}
        super().__init__(x, y, linestyle="none", marker=marker, **how)
        self._marked = marked

    def draw(self, renderer: RendererBase) -> None:
        """Each mark in a group of its own."""
        every = self.get_data()
        for gid, (x, y) in self._marked.items():
            self.set_data([x], [y])
            self.set_gid(gid)
            super().draw(renderer)
        self.set_data(*every)
        self.set_gid(None)


@dataclass(frozen=True)
class Drawing:
    """A figure of a page as matplotlib drew it, compressed, of which its fragment and the file that
    can be kept are made when they are written: of many candidates each is large.
    """

    name: str
    title: str
    drawn: bytes
    points: Callable[[], Mapping[str, Point]]

    @property
    def fragment(self) -> str:
        """What stands in the page."""
        return _fragment(self._text, self.name, self.title, self.points())

    @property
    def svg(self) -> str:
        """The file, with the paper below it."""
        paper = f'<rect width="100%" height="100%" fill="{PAPER}"/>\n <defs>'
        return self._text.replace("<defs>", paper, 1)

    @property
    def _text(self) -> str:
        return zlib.decompress(self.drawn).decode()


def canvas(height: float) -> tuple[Figure, Axes]:
    """An empty figure of a page's width, and its axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots()


@matplotlib.rc_context(STYLE)
def drawing(
    figure: Figure, name: str, title: str, points: Callable[[], Mapping[str, Point]] = dict
) -> Drawing:
    """The figure for a page. `points` makes them, by the gid of the artist that draws each."""
    drawn = zlib.compress(_markup(figure).encode(), 1)
    return Drawing(name, title, drawn, points)


@matplotlib.rc_context(STYLE)
def svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an inline `<svg>`: labelled `title`, without dates, ids prefixed by `name`."""
    return _fragment(_markup(figure), name, title, {})


def _markup(figure: Figure) -> str:
    """The figure as SVG; laid out once, which `savefig` by itself does twice."""
    layout, buffer = figure.get_layout_engine(), io.StringIO()
    if layout is not None:
        layout.execute(figure)
    figure.set_layout_engine("none")
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    figure.set_layout_engine(layout)
    return buffer.getvalue()


def _fragment(text: str, name: str, title: str, points: Mapping[str, Point]) -> str:
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    if points:
        text = _POINT.sub(
            lambda match: _link(match[3], points[match[2]]) if match[2] in points else match[0],
            text,
        )
    used = set(re.findall(r'(?:url\(#|href="#)([\w.-]+)', text))
    text = re.sub(
        r' id="([\w.-]+)"',
        lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "",
        text,
    )
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    for color, variable in {**_VARIABLES, PAPER: "paper"}.items():
        text = text.replace(color, f"var(--{variable})")
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    role = "group" if points else "img"
    return text.replace("<svg", f'<svg role="{role}" aria-label="{escape(title)}"', 1)


_POINT = re.compile(r'^( *)<g id="(point-\d+)">(.*?)^\1</g>', re.DOTALL | re.MULTILINE)
"""What draws a point, whose artist has such a gid."""


def _link(drawn: str, point: Point) -> str:
    """What draws a point as a link that says what it is, with room around it to be pointed at."""
    center = re.search(r'<use [^>]*?x="([\d.-]+)" y="([\d.-]+)"', drawn)
    room = f'<circle class="room" cx="{center[1]}" cy="{center[2]}" r="9"/>' if center else ""
    words = escape(point.text)
    return (
        f'<a class="point" href="page:{point.page}" aria-label="{words}">'
        f"<title>{words}</title>{drawn}{room}</a>"
    )


def save(figure: Figure, path: Path | str, columns: Literal[1, 2] = 2) -> None:
    """Write a figure for print as SVG, PDF or PNG, by the ending: text in 8 points, fonts embedded.

    The same study gives the same bytes. UserError for another ending.
    """
    path = Path(path)
    dates = {".svg": "Date", ".pdf": "CreationDate", ".png": "Software"}
    if path.suffix not in dates:
        raise UserError(f"{path}: a figure is saved as .svg, .pdf or .png")
    before: tuple[float, float] = tuple(figure.get_size_inches())
    texts = [(text, text.get_fontsize()) for text in figure.findobj(Text)]
    shrunk = COLUMNS[columns] / before[0]
    style: Any = {**STYLE, "svg.fonttype": "path", "pdf.fonttype": 42, "savefig.dpi": 300}
    try:
        figure.set_size_inches(COLUMNS[columns], before[1] * max(shrunk, 0.7))
        for text, _ in texts:
            text.set_fontsize(PRINT)
        with matplotlib.rc_context(style), atomic_file(path) as draft:
            metadata = {dates[path.suffix]: None}
            figure.savefig(draft, format=path.suffix[1:], metadata=metadata)
    finally:
        figure.set_size_inches(before)
        for text, size_before in texts:
            text.set_fontsize(size_before)
