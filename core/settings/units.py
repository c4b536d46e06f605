"""What the numbers of settings measure, so that their page can tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Unit:
    """Of a number."""

    name: str


Seconds = Annotated[float, Unit("seconds")]
Bytes = Annotated[int, Unit("bytes")]
