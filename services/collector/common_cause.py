"""What the lines of a batch have in common, told once, and not as often as there are lines.

Why it has not one success, where all have the same error code: a key that was wrong, a model that
an account may not use, a window that closed. And how many its limits kept from being sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from core.batchfile import Entry, LineOutcome, read_failure
from core.batchfile.result_lines import COST_LIMIT
from core.ledger import Batch, usd

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
            failure = read_failure(raw)
            message = failure.message[:_MOST_MESSAGE]
            if not self._code:
                self._code, self._message, self._line = failure.code, message, line
            elif failure.code != self._code:
                self._over = True
                return
            elif message != self._message:
                self._same = False


class NotSent:
    """Counts the lines that a batch's limits kept from being sent: its max cost, its canary, the
    failures that it allows."""

    def __init__(self, batch: Batch) -> None:
        self._why: dict[str, str] = {}
        if batch.max_cost_nanos is not None:
            cost = usd(batch.max_cost_nanos)
            self._why[COST_LIMIT] = f"the batch's max cost of {cost} USD could have been passed"
        if batch.halt_code:
            self._why[batch.halt_code] = batch.halt_message
        self._lines: Counter[str] = Counter()

    def add(self, lines: Iterable[Entry]) -> None:
        """Take in result lines. Looks into none of a batch without such a limit."""
        if not self._why:
            return
        for _line, outcome, raw in lines:
            if outcome == LineOutcome.FAILED:
                self._lines[read_failure(raw).code] += 1

    @property
    def told(self) -> list[dict[str, str]]:
        """As Batch.errors has it: a line for each limit that kept any back."""
        return [
            {"code": code, "message": f"{_were(self._lines[code])} not sent: {why}"}
            for code, why in self._why.items()
            if self._lines[code]
        ]


def _were(lines: int) -> str:
    return "1 line was" if lines == 1 else f"{lines:,} lines were"
