"""When faults strike: HTTP faults on requests, and fates dealt to lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from time import monotonic

from services.sandbox.config import Fault, FaultKind
from services.sandbox.kinds import CallKind, Provider, batch_of
from services.sandbox.plan import Fate, Plan

_NO_HTTP: frozenset[FaultKind] = frozenset({"fail_batch", "line"})


@dataclass(frozen=True, slots=True)
class Aim:
    """What faults look at in a call."""

    provider: Provider
    kind: CallKind
    method: str
    path: str
    key: str


@dataclass(slots=True)
class _Armed:
    """A fault that is set. What is left of its count stands in the fault itself."""

    fault: Fault
    began: float | None
    """None while it waits for the call that begins it."""
    matches: int = 0

    @property
    def live(self) -> bool:
        """Whether it may strike now."""
        return self.began is not None and self.left

    @property
    def left(self) -> bool:
        """Whether it may strike now or later."""
        seconds, count = self.fault.seconds, self.fault.count
        if self.began is not None and seconds is not None and monotonic() >= self.began + seconds:
            return False
        return count is None or count > 0

    def begin(self, aim: Aim) -> None:
        """Let its time begin if it waits for a call such as this."""
        fault = self.fault
        if self.began is None and fault.since == aim.kind and self.at(aim.provider):
            self.began = monotonic()

    def at(self, provider: Provider) -> bool:
        return self.fault.provider in (None, provider)

    def meets(self, aim: Aim) -> bool:
        """Whether it is meant for a call such as this."""
        fault = self.fault
        return (
            fault.kind not in _NO_HTTP
            and self.at(aim.provider)
            and fault.method.upper() in ("", aim.method)
            and (not fault.calls or aim.kind in fault.calls)
            and fault.key in ("", aim.key)
            and re.search(fault.path, aim.path) is not None
            and (fault.kind != "not_found" or batch_of(aim.path) is not None)
            and (fault.kind != "withdrawn" or aim.key != "")
        )


class Faults:
    """The faults that are set, with what is left of their counts and times."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self._random = Random()
        self._attempts: dict[int, int] = {}

    def replace(self, faults: list[Fault]) -> None:
        """Set these faults instead of those so far. Their counts are used up in place."""
        now = monotonic()
        self._armed = [_Armed(fault, None if fault.since else now) for fault in faults]

    def reset(self) -> None:
        self._armed.clear()
        self._attempts.clear()

    def left(self) -> list[Fault]:
        """The faults that may still strike."""
        return [armed.fault for armed in self._armed if armed.left]

    def for_request(self, aim: Aim) -> Fault | None:
        """The fault that strikes a request, if any; uses up one of its count."""
        for armed in self._armed:
            armed.begin(aim)
        for armed in self._armed:
            if armed.live and armed.meets(aim) and self._strikes(armed):
                return armed.fault
        return None

    def for_batch(self, provider: Provider) -> Fault | None:
        """The fault that makes the check of a new batch fail, if any."""
        for armed in self._of_kind("fail_batch", provider):
            if armed.live and self._strikes(armed):
                return armed.fault
        return None

    def for_call(self, provider: Provider, digest: int, marked: Fate, failing: int) -> Fate:
        """The fate of a single call: as it is marked, or by a fault of kind "line"."""
        if failing:
            return Fate.SERVER if self._fails(digest, failing) else Fate.OK
        if marked is not Fate.OK:
            return marked
        for armed in self._of_kind("line", provider):
            if armed.live and self._strikes(armed):
                return Fate[armed.fault.outcome.upper()]
        return Fate.OK

    def deal(self, provider: Provider, plan: Plan) -> None:
        """Deal fates to the lines of a batch that starts."""
        for index, digest, failing in plan.flaky:
            if self._fails(digest, failing):
                plan.set_fate(index, Fate.SERVER)
        for armed in self._of_kind("line", provider):
            fate = Fate[armed.fault.outcome.upper()]
            for index in range(plan.total):
                if not armed.live:
                    break
                if plan.fate_of(index) is Fate.OK and self._strikes(armed):
                    plan.set_fate(index, fate)

    def _of_kind(self, kind: FaultKind, provider: Provider) -> Iterator[_Armed]:
        return (a for a in self._armed if a.fault.kind == kind and a.at(provider))

    def _fails(self, digest: int, failing: int) -> bool:
        """Whether this is one of the first `failing` attempts at a line."""
        attempt = self._attempts[digest] = self._attempts.get(digest, 0) + 1
        return attempt <= failing

    def _strikes(self, armed: _Armed) -> bool:
        """Whether a live fault strikes what it meets; uses up one of its count."""
        fault = armed.fault
        armed.matches += 1
        if armed.matches % fault.every:
            return False
        if fault.probability < 1.0 and self._random.random() >= fault.probability:
            return False
        if fault.count is not None:
            fault.count -= 1
        return True
