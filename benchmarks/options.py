"""How much to measure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes of the benchmarks; smaller ones are for a quick look, not for a claim."""

    folder: Path
    """On a real disk; everything is written below it and removed again."""
    lines: int
    """Of the files of upload and turnaround."""
    rounds: int
    """How often upload and turnaround are repeated; medians are taken."""
    small: int
    """Lines of memory's small job."""
    large: int
    """Lines of memory's large job."""
    watchers: int
    pages: int
    """Open at a time, of the dashboard."""
    messages: int
    """Of one byte each, in one upload."""
    idle: int
    """Watches on which nothing happens."""
    flying: int
    """Batches that run at providers at the same time, of polling and in-flight."""
