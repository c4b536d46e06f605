"""How much to measure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes; smaller ones are for a quick look, not for a claim."""

    folder: Path
    """On a real disk; everything is written below it and removed again."""
    million: int
    """Lines of the one large batch."""
    lines: int
    """Of each of the batches of throughput."""
    calls: int
    """Lines that throughput runs one by one."""
    batches: int
    """In flight at the same time."""
    watchers: int
