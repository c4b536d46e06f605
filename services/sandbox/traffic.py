"""What one provider was asked and what it answered, to show which calls were wasted."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from services.sandbox.kinds import CallKind


@dataclass(frozen=True, slots=True)
class _Told:
    """A Retry-After: when the answer that has it went out, and when it is over."""

    at: float
    until: float


class Traffic:
    """Counts since the start or the last reset. Times are those of a monotonic clock."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        """`taken`: files that their owners may still delete, though a reset has taken them."""
        self.uploads = 0
        self.uploads_deleted = 0
        self.deleted_twice = 0
        self._calls: Counter[CallKind] = Counter()
        self._refused: defaultdict[CallKind, Counter[str]] = defaultdict(Counter)
        self._lost: Counter[CallKind] = Counter()
        self._early: Counter[CallKind] = Counter()
        self._crossed: Counter[CallKind] = Counter()
        self._told: defaultdict[str, deque[_Told]] = defaultdict(deque)
        self._unfetched: dict[str, int] = {}
        self._untold = set(taken)

    def arrived(self, kind: CallKind, credential: str, now: float, crossing: float) -> None:
        """A call has come in.

        If a Retry-After that its credential was told is not over yet, it is early; unless
        that was less than `crossing` seconds ago, when the call may have been on its way.
        """
        self._calls[kind] += 1
        waits = self._told.get(credential)
        if not waits:
            return
        running = deque(each for each in waits if now < each.until)
        self._told[credential] = running
        if any(now - each.at >= crossing for each in running):
            self._early[kind] += 1
        elif running:
            self._crossed[kind] += 1

    def answered(
        self, kind: CallKind, credential: str, status: int, told_at: float, wait: float | None
    ) -> None:
        """An answer has gone out whole; `wait`: the seconds of its Retry-After."""
        if status >= 400:
            self._refused[kind][str(status)] += 1
        if wait:
            self._told[credential].append(_Told(told_at, told_at + wait))

    def answer_lost(self, kind: CallKind) -> None:
        """A call was handled, and nobody got its answer whole."""
        self._lost[kind] += 1

    def billed(self, batch_id: str, answers: int) -> None:
        """A batch has been billed, and so many of its answers can be downloaded."""
        if answers:
            self._unfetched[batch_id] = answers

    def fetched(self, batch_id: str) -> None:
        """The answers of a batch were downloaded whole."""
        self._unfetched.pop(batch_id, None)

    def file_deleted(self, file_id: str, *, uploaded: bool) -> None:
        """A file has been deleted; until `deletion_told`, its owner does not know."""
        self.uploads_deleted += uploaded
        self._untold.add(file_id)

    def deletion_told(self, file_id: str) -> None:
        """The answer to a deletion has gone out whole."""
        self._untold.discard(file_id)

    def deletion_of_nothing(self, file_id: str) -> None:
        """There was no such file, any more or ever.

        That is nobody's fault while the answer to its deletion was lost.
        """
        self.deleted_twice += file_id not in self._untold

    def taken(self, files: Iterable[str]) -> set[str]:
        """What the next reset takes of these files, beside what earlier ones have taken."""
        return self._untold.union(files)

    @property
    def early(self) -> int:
        return self._early.total()

    @property
    def crossed(self) -> int:
        return self._crossed.total()

    @property
    def never_fetched(self) -> int:
        return sum(self._unfetched.values())

    def report(self) -> dict[str, Any]:
        """These counts, within the bill."""
        return {
            "uploads": self.uploads,
            "uploads_deleted": self.uploads_deleted,
            "deleted_twice": self.deleted_twice,
            "calls": _sorted(self._calls),
            "refused": {kind: _sorted(found) for kind, found in sorted(self._refused.items())},
            "answers_lost": _sorted(self._lost),
            "calls_before_retry_after": _sorted(self._early),
            "calls_crossing_retry_after": _sorted(self._crossed),
            "answers_never_fetched": self.never_fetched,
        }


def _sorted(counts: Counter[Any]) -> dict[str, int]:
    return dict(sorted(counts.items()))
