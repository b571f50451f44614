"""What notebooks show."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def html_table(title: str, headings: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table as HTML; everything in it is text.

    Examples
    --------
    >>> html_table("A < B", ["n"], [[1]])
    '<div><b>A &lt; B</b><table><tr><th>n</th></tr><tr><td>1</td></tr></table></div>'
    """
    lines = [_row("th", headings), *(_row("td", row) for row in rows)]
    return f"<div><b>{escape(title)}</b><table>{''.join(lines)}</table></div>"


def _row(cell: str, texts: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{cell}>{escape(str(text))}</{cell}>' for text in texts)}</tr>"
