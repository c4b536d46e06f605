"""Why a batch has not one success, where all of its lines have the same error code.

A key that was wrong, a model that an account may not use, a window that closed: one thing to
fix, and not as many as there are lines.
"""

from __future__ import annotations

from collections.abc import Iterable

from core.batchfile import Entry, LineOutcome
from services.collector.results import line_failure

_MOST_MESSAGE = 500


class CommonCause:
    """Looks at the lines of a batch as they are written; costs nothing after a success."""

    def __init__(self) -> None:
        self._code = ""
        self._message = ""
        self._line = 0
        self._same = True
        self._over = False

    @property
    def found(self) -> dict[str, str] | None:
        """{"code", "message"}; None where lines differ, succeeded, or were cancelled."""
        if self._over or not self._code:
            return None
        message = self._message
        if not self._same:
            message = f"{message} (so line {self._line}; the others differ in their words)"
        return {"code": self._code, "message": message}

    def add(self, lines: Iterable[Entry]) -> None:
        """Take in result lines, in the order of the input."""
        if self._over:
            return
        for line, outcome, raw in lines:
            if outcome in (LineOutcome.SUCCEEDED, LineOutcome.CANCELLED):
                self._over = True
                return
            failure = line_failure(line, raw)
            message = failure.message[:_MOST_MESSAGE]
            if not self._code:
                self._code, self._message, self._line = failure.code, message, line
            elif failure.code != self._code:
                self._over = True
                return
            elif message != self._message:
                self._same = False
