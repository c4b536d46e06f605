"""Of the plan step: which lines go first.

So many of each model, spread over the file: it is parted into as many stretches of even length, of
which each gives one line. Which one follows from the batch's id alone, so a plan that a crash cut
off is made again with the same lines. In memory are two numbers a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b


class CanaryLines:
    """Tells the lines that go first, as they come by in the order of the file."""

    def __init__(self, batch_id: str, lines_per_model: int, totals: Sequence[int]) -> None:
        """`totals`: how many lines of each group the batch takes."""
        self._batch_id = batch_id
        self._wanted = [min(lines_per_model, total) for total in totals]
        self._totals = totals
        self._seen = [0] * len(totals)
        self._chosen = [0] * len(totals)
        self._next = [self._place(group) for group in range(len(totals))]

    def take(self, group: int) -> bool:
        """Whether the next line of a group goes first."""
        place = self._seen[group]
        self._seen[group] += 1
        if place != self._next[group]:
            return False
        self._chosen[group] += 1
        self._next[group] = self._place(group)
        return True

    def _place(self, group: int) -> int:
        """Of the next one that is chosen; -1: there is no further one."""
        number, wanted, total = self._chosen[group], self._wanted[group], self._totals[group]
        if number >= wanted:
            return -1
        start, end = number * total // wanted, (number + 1) * total // wanted
        seed = f"{self._batch_id}/{group}/{number}".encode()
        draw = int.from_bytes(blake2b(seed, digest_size=8).digest())
        return start + draw % (end - start)
