"""The fenced blocks of README, documentation and clients' pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
_BLOCK = re.compile(r"^( *)```(\S*)\n(.*?)^\1```[ ]*$", re.MULTILINE | re.DOTALL)
_SAVED = re.compile(r"\b(?:As|With) `([\w.]+)`:\s*\Z")


@dataclass(frozen=True)
class Block:
    """One block of a page."""

    page: str
    """Its path in the repository."""
    line: int
    language: str
    text: str
    saved_as: str
    """The file as which the sentence before it has the reader keep it; else empty."""

    @property
    def name(self) -> str:
        """By which tables of blocks name it: its page and the beginning of its first line."""
        lines = (line.strip() for line in self.text.splitlines())
        first = next((line for line in lines if line), "")
        return f"{self.page}: {first[:40].strip()}"

    @property
    def runs(self) -> bool:
        """Whether it is a program or a command."""
        return self.language in ("sh", "console", "python")


def pages() -> list[Path]:
    """Every page whose blocks are looked at."""
    return [
        ROOT / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "clients").glob("*.md")),
        *sorted((ROOT / "clients").glob("*/README.md")),
    ]


def blocks_of(path: Path) -> Iterator[Block]:
    """The blocks of a page, in order, without the indentation of a list that they are in."""
    text, name = path.read_text(), str(path.relative_to(ROOT))
    for found in _BLOCK.finditer(text):
        saved = _SAVED.search(text[: found.start()])
        yield Block(
            page=name,
            line=text.count("\n", 0, found.start()) + 1,
            language=found[2],
            text=re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE),
            saved_as=saved[1] if saved else "",
        )


def shell_of(block: Block) -> str:
    """The commands of a block: of a transcript those behind its prompts."""
    if block.language == "console":
        lines = block.text.splitlines()
        return "\n".join(line[2:] for line in lines if line.startswith("$ "))
    return block.text
