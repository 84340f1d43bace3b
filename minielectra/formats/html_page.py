"""One self-contained HTML file: it opens from disk, needs no network, and cannot reach one.

Style, script and data stand in the file itself. A Content-Security-Policy lets the browser run this style and
this script, known by their hashes, and load nothing. So even a text that got into the page as markup by
mistake could neither run nor send anything.
"""

import base64
import hashlib
import html
import json
from os import PathLike
from pathlib import Path

from minielectra.errors import InputError
from minielectra.formats.files import make_folder, write_text


def html_page(title: str, body: str, style: str, script: str, data: dict) -> str:
    """The text of a page.

    title: any text; body: HTML; style: CSS; script: JavaScript, an ES module that runs when the page is
    whole; data: {id: JSON-able value}, which the script reads with

        JSON.parse(document.getElementById(id).textContent)

    Body, style and script come from files of the package and are taken as they are; title and data may hold
    anything. Inline `style="…"` and `onclick="…"` do nothing on such a page: set styles from the script
    (`element.style.width = …`), listen with `addEventListener`. Raises ValueError if a style or script would
    end early, or if a value in `data` is NaN or infinite.
    """
    for text, end in ((style, "</style"), (script, "</script"), (script, "<!--")):
        if end in text.lower():
            raise ValueError(f"{end} inside an element of a page would end it, or hide what follows")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    elements = "\n".join(
        f'<script type="application/json" id="{html.escape(name)}">{inline_json(value)}</script>'
        for name, value in data.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escaped(title)}</title>
<style>{style}</style>
</head>
<body>
{body}
{elements}
<script type="module">{script}</script>
</body>
</html>
"""


def escaped(text: str) -> str:
    """A text as it may stand in HTML, between tags or in quotes. Everything beyond ASCII is escaped."""
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode("ascii")


def inline_json(value) -> str:
    """A JSON-able value as it may stand in a script element: ASCII, and nothing in it ends the element.

    Raises ValueError for NaN and infinity, which JSON does not have.
    """
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def write_page(path: str | PathLike, text: str) -> None:
    """Write a page in one step; missing folders are made. Raises OSError, and as `check_page_name`."""
    check_page_name(path)
    make_folder(Path(path).parent)
    write_text(path, text)


def check_page_name(path: str | PathLike) -> None:
    """Raise InputError if `path` does not end in .html: it may name another file by mistake."""
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path}: a page is a file whose name ends in .html; add the ending")


def _digest(text: str) -> str:
    """How a policy names the content of an inline element."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
