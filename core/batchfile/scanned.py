"""What a scan of a file gives: of some lines, and of the whole."""

from __future__ import annotations

from dataclasses import dataclass

from core.batchfile.duplicates import Duplicates
from core.batchfile.index import Group
from core.batchfile.problems import Problem
from core.batchfile.totals import LineSum


@dataclass(frozen=True, slots=True)
class Scanned:
    """What some lines gave."""

    index: bytes
    """Index records, one for each line that is not blank."""
    problems: list[Problem]
    """In line order; without the warnings, which come with the Summary."""
    media: bytes = b""
    """Media records, one for each line with images, recordings or files."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the whole file gave. The counts do not know of the duplicates."""

    endpoint: str
    """The url of all valid lines; empty if there is none."""
    bytes: int
    line_count: int
    """Lines that are not blank."""
    invalid_count: int
    """Lines that not every batch takes."""
    lenient_count: int
    """Of these, lines that a lenient batch takes."""
    groups: list[Group]
    warnings: list[Problem]
    """In line order, each kind once."""
    duplicates: Duplicates
    totals: list[LineSum]
    """Of the lines that some batch takes, duplicates included."""
