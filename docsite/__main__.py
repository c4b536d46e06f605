"""`python -m docsite`: write the pages that are made of the code, then all those of the site."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from docsite import command_page, python_page, rpc_page, settings_page
from docsite.markdown import deeper
from docsite.staging import ROOT, BrokenLink, stage
from services.web import reference

DOCS = ROOT / "docs"


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
    try:
        stage(ROOT / "build/docs")
    except BrokenLink as broken:
        print(broken, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
