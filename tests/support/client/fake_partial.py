"""Partial downloads of the fake service."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from polybatch.v1 import results_pb2


@dataclass
class Settled:
    """The lines of a batch, and how it stands whenever somebody asks for more of them."""

    lines: list[tuple[int, int, bytes]]
    """The revision that settled each, its number, and the line with its newline."""
    stands: deque[tuple[int, bool]]
    """Its revision, and whether it has ended then."""

    def reply(self, request: Any) -> tuple[results_pb2.ResultsHeader, bytes]:
        """The header, and all that follows."""
        until, ended = self.stands[0]
        if request.settled_until:
            until = request.settled_until
        elif len(self.stands) > 1:
            self.stands.popleft()
        span = [
            (number, raw)
            for revision, number, raw in self.lines
            if request.settled_after < revision <= until
        ]
        header = results_pb2.ResultsHeader(
            line_count=len(span),
            incomplete=not ended,
            settled_line_count=sum(revision <= until for revision, _, _ in self.lines),
            settled_until=until,
            complete_until_line=2,
        )
        return header, b"".join(raw for number, raw in sorted(span) if number > request.after_line)
