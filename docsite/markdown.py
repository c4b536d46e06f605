"""Text of docstrings and comments as Markdown that shows it as it was written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`[^`]+`)")
_PAGE = re.compile(r"\bdocs/((?:adr/)?[\w-]+\.md)(#[\w-]+)?")
MADE = "Made by `make docs`: change {source} instead."


def notice(source: str) -> str:
    """The comment at the top of a page that is made as a whole."""
    return f"<!-- {MADE.format(source=source)} -->\n"


def escaped(text: str) -> str:
    """Nothing but code in backticks means something to Markdown; a docs page is linked.

    The page that it is put on lies in docs/ itself: see `deeper`.
    """
    parts = _CODE.split(text)
    for index in range(0, len(parts), 2):
        part = parts[index].replace("&", "&amp;").replace("<", "&lt;")
        part = re.sub(r"([*\[\]])", r"\\\1", part)
        parts[index] = _PAGE.sub(r"[\1](\1\2)", part)
    return "".join(parts)


def deeper(page: str) -> str:
    """The links of a page that lies one folder below docs/."""
    return re.sub(r"\]\((?=(?:adr/)?[\w-]+\.md)", "](../", page)


def prose(text: str) -> str:
    """A docstring or a comment: paragraphs, and what is indented as it stands."""
    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.splitlines()
        plain = [line for line in lines if not line.startswith("  ")]
        if not plain:
            blocks.append("\n".join(["```text", *(line[2:] for line in lines), "```"]))
        else:
            blocks.append(escaped(block))
    return "\n\n".join(blocks)


def cell(text: str) -> str:
    """A docstring or a comment in one cell of a table."""
    return escaped(" ".join(text.split())).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table, with an empty one after it; none where there are no rows."""
    written = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *written, ""] if written else []
