"""When faults strike: HTTP faults on requests, and fates dealt to lines."""

from __future__ import annotations

import re
from random import Random
from time import monotonic

from .config import Fault, FaultKind
from .kinds import Provider
from .plan import Fate, Plan

HTTP_KINDS: frozenset[FaultKind] = frozenset(
    {"status", "reset_before", "reset_after", "slow", "cut", "garbage"}
)


class Faults:
    """The faults that are set, with what is left of their counts and times."""

    def __init__(self) -> None:
        self._set_at: list[tuple[Fault, float]] = []
        self._random = Random()
        self._attempts: dict[int, int] = {}

    def replace(self, faults: list[Fault]) -> None:
        """Set these faults instead of those so far. Their counts are used up in place."""
        now = monotonic()
        self._set_at = [(fault, now) for fault in faults]

    def reset(self) -> None:
        self._set_at.clear()
        self._attempts.clear()

    def left(self) -> list[Fault]:
        """The faults that may still strike."""
        return [fault for fault, at in self._set_at if self._live(fault, at)]

    def for_request(self, provider: Provider, method: str, path: str) -> Fault | None:
        """The fault that strikes a request, if any; uses up one of its count."""
        for fault, at in self._set_at:
            if (
                fault.kind in HTTP_KINDS
                and self._live(fault, at)
                and fault.provider in (None, provider)
                and fault.method.upper() in ("", method)
                and re.search(fault.path, path)
                and self._strikes(fault)
            ):
                return fault
        return None

    def for_batch(self, provider: Provider) -> Fault | None:
        """The fault that makes the check of a new batch fail, if any."""
        for fault, at in self._set_at:
            if (
                fault.kind == "fail_batch"
                and self._live(fault, at)
                and fault.provider in (None, provider)
                and self._strikes(fault)
            ):
                return fault
        return None

    def for_call(self, provider: Provider, digest: int, marked: Fate, failing: int) -> Fate:
        """The fate of a single call: as it is marked, or by a fault of kind "line"."""
        if failing:
            return Fate.SERVER if self._fails(digest, failing) else Fate.OK
        if marked is not Fate.OK:
            return marked
        for fault, at in self._set_at:
            if (
                fault.kind == "line"
                and self._live(fault, at)
                and fault.provider in (None, provider)
                and self._strikes(fault)
            ):
                return Fate[fault.outcome.upper()]
        return Fate.OK

    def deal(self, provider: Provider, plan: Plan) -> None:
        """Deal fates to the lines of a batch that starts."""
        for index, digest, failing in plan.flaky:
            if self._fails(digest, failing):
                plan.set_fate(index, Fate.SERVER)
        for fault, at in self._set_at:
            if fault.kind != "line" or fault.provider not in (None, provider):
                continue
            fate = Fate[fault.outcome.upper()]
            for index in range(plan.total):
                if not self._live(fault, at):
                    break
                if plan.fate_of(index) is Fate.OK and self._strikes(fault):
                    plan.set_fate(index, fate)

    def _fails(self, digest: int, failing: int) -> bool:
        """Whether this is one of the first `failing` attempts at a line."""
        attempt = self._attempts[digest] = self._attempts.get(digest, 0) + 1
        return attempt <= failing

    def _live(self, fault: Fault, at: float) -> bool:
        if fault.seconds is not None and monotonic() >= at + fault.seconds:
            return False
        return fault.count is None or fault.count > 0

    def _strikes(self, fault: Fault) -> bool:
        if fault.probability < 1.0 and self._random.random() >= fault.probability:
            return False
        if fault.count is not None:
            fault.count -= 1
        return True
