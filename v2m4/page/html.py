"""HTML documents and their parts: one style, scripts and data inside of the document."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

ASSETS = Path(__file__).with_name("assets")
# Nothing is loaded from anywhere: a browser refuses whatever is not in the page.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src data: blob:"
)
DASH = "-"  # for a value that there is not


def page_text(title: str, body: str, scripts: Sequence[str] = (), head: str = "") -> str:
    """A whole HTML document with the common style; scripts run in order behind the body, ``head`` is put first."""
    style = (ASSETS / "page.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'{head}<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body><main>{body}</main>{''.join(scripts)}</body></html>\n"
    )


def script(name: str) -> str:
    """A script of the assets as an element."""
    return f"<script>{(ASSETS / name).read_text('utf-8')}</script>"


def json_element(name: str, value: Any) -> str:
    """A value as a JSON element that scripts read by its id."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    safe = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f'<script type="application/json" id="{name}">{safe}</script>'


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table of cells that are HTML already; it scrolls sideways where it is wide."""
    head = "".join(f"<th>{cell}</th>" for cell in headers)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def number(value: float | None, digits: int, unit: str = "") -> str:
    """A number with so many decimals and its unit; a dash for none."""
    return DASH if value is None or not np.isfinite(value) else f"{value:.{digits}f}{unit}"
