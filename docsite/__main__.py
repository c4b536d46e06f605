"""`python -m docsite`: write the pages of docs/ that are made of the code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from docsite import command_page, python_page, rpc_page, settings_page
from docsite.markdown import deeper
from services.web import reference

DOCS = Path(__file__).parents[1] / "docs"


def _filled(name: str, fill: Callable[[str], str]) -> Callable[[], str]:
    return lambda: fill((DOCS / name).read_text())


PAGES: Mapping[str, Callable[[], str]] = {
    "http-api.md": _filled("http-api.md", reference.filled),
    "settings.md": _filled("settings.md", settings_page.filled),
    "reference/cli.md": lambda: deeper(command_page.page()),
    "reference/grpc.md": lambda: deeper(rpc_page.page()),
    "reference/python.md": lambda: deeper(python_page.page()),
}
"""What each page is to hold now."""


def main() -> int:
    """Write them all."""
    for name, made in PAGES.items():
        content = made()
        (DOCS / name).write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
