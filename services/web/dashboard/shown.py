"""Values as people read them: money, counts, sizes, times, states."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, ROUND_UP, Decimal
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money  # type: ignore[import-untyped]
from markupsafe import Markup, escape
from polybatch.v1 import batches_pb2

STATES: Mapping[int, tuple[str, str, str]] = {
    batches_pb2.BATCH_STATE_VALIDATING: ("validating", "Validating", "busy"),
    batches_pb2.BATCH_STATE_IN_PROGRESS: ("in_progress", "In progress", "busy"),
    batches_pb2.BATCH_STATE_FINALIZING: ("finalizing", "Finalizing", "busy"),
    batches_pb2.BATCH_STATE_COMPLETED: ("completed", "Completed", "good"),
    batches_pb2.BATCH_STATE_FAILED: ("failed", "Failed", "bad"),
    batches_pb2.BATCH_STATE_EXPIRED: ("expired", "Expired", "bad"),
    batches_pb2.BATCH_STATE_CANCELLING: ("cancelling", "Cancelling", "still"),
    batches_pb2.BATCH_STATE_CANCELLED: ("cancelled", "Cancelled", "still"),
}
"""Of each state its name, its word, and the tone that it is shown in."""

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
GOING = frozenset({"validating", "in_progress"})
"""States of a batch of which something may still be sent."""

WITH_RESULTS = ENDED - {"failed"}
_CENT = Decimal("0.01")
# A command in marks, or one that is named without its program.
_COMMAND = re.compile(r"`polybatch ([^`]+)`|(?<![\w`])(submit FILE --(?:model|provider) [\w-]+)")
_SIZES = ("bytes", "KB", "MB", "GB", "TB")


def amount(money: Money) -> Decimal:
    """Exact, in USD."""
    return Decimal(money.units) + Decimal(money.nanos).scaleb(-9)


def usd(value: Decimal) -> str:
    """A cost: to the cent, below a dollar in two digits that count: "$12.30", "$0.0041".

    Rounded up, as the command does, so that nothing seems to cost less than it does: what is
    shown as the most, entered as a limit, lets all of it be sent.
    """
    return _rounded(value, ROUND_UP)


def usd_left(value: Decimal) -> str:
    """What may be spent, such as credits or a limit: rounded down, so that it is there."""
    return _rounded(value, ROUND_FLOOR)


def _rounded(value: Decimal, rounding: str) -> str:
    if not value:
        return "$0"
    # The place of the second digit that is not 0.
    exponent = max(-9, min(-2, value.adjusted() - 1))
    shown = value.quantize(Decimal(1).scaleb(exponent), rounding)
    return f"{'−' if shown < 0 else ''}${abs(shown):,f}"


def tick(value: Decimal) -> str:
    """Of an axis of money: all of it, cents at least: "$0.06", "$0.012"."""
    plain = value.quantize(_CENT) if value == value.quantize(_CENT) else value.normalize()
    return f"${plain:,f}" if value else "$0"


def exact(value: Decimal) -> str:
    """All of it."""
    return f"{value.normalize():f} USD"


def count(value: float | Decimal) -> str:
    """With separators: "12,345"."""
    return f"{value:,.0f}"


def lines(number: int) -> str:
    """How many: "1 line", "12,345 lines"."""
    return f"{number:,} line{'' if number == 1 else 's'}"


def short(value: float | Decimal) -> str:
    """Three digits at most: "1.2M"."""
    value = float(value)
    if round(value) < 1000:
        return f"{value:.0f}"
    for unit in "kMB":
        value /= 1000
        # What is rounded up to a thousand is one of the next unit.
        if round(value) < 1000 or unit == "B":
            return f"{value:.{0 if value >= 100 else 1}f}".removesuffix(".0") + unit
    raise AssertionError


def size(value: float) -> str:
    """Of bytes: "1.4 MB"."""
    for unit in _SIZES:
        if round(value) < 1000 or unit == _SIZES[-1]:
            return (
                f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
            )
        value /= 1000
    raise AssertionError


def span(seconds: float) -> str:
    """As people say it: "3 h 20 min", "0.4 s"; a day is 24 h."""
    left = max(0, round(seconds))
    if 0 < seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    for unit, length, lower, part, least in (
        ("d", 86_400, "h", 3600, 2 * 86_400),
        ("h", 3600, "min", 60, 3600),
        ("min", 60, "s", 1, 60),
    ):
        if left >= least:
            rest = left % length // part
            return f"{left // length} {unit}" + (f" {rest} {lower}" if rest else "")
    return f"{left} s"


def dated(when: datetime, clock: str = "%H:%M", now: datetime | None = None) -> str:
    """In UTC: "7 Nov 12:30"; with its year where that is another than today's."""
    year = "" if when.year == (now or datetime.now(UTC)).year else " %Y"
    return when.strftime(f"%-d %b{year} {clock}")


def codes(text: str) -> Markup:
    """With what stands in `such marks` as code; all else is escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    marked = Markup("<code>{}</code>")
    return Markup("").join(
        marked.format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def advice(text: str) -> Markup:
    """What is wrong and what helps, where the help may be a command: that is not of this page."""
    return codes(
        _COMMAND.sub(lambda found: f"on the command line, `polybatch {found[1] or found[2]}`", text)
    )


def moment(timestamp: Timestamp) -> datetime:
    """In UTC."""
    return timestamp.ToDatetime(tzinfo=UTC)


_PRIORITIES = {batches_pb2.BATCH_PRIORITY_LOW: "low", batches_pb2.BATCH_PRIORITY_HIGH: "high"}
_CANARIES = {
    batches_pb2.CANARY_STATE_RUNNING: ", under way",
    batches_pb2.CANARY_STATE_PASSED: ", passed",
    batches_pb2.CANARY_STATE_FAILED: ", failed: the rest was not sent",
}


@dataclass(frozen=True)
class Step:
    """One moment in the life of a batch."""

    name: str
    at: datetime


@dataclass(frozen=True)
class Ends:
    """Half of such batches end from `likely` to `by`, nine of ten from `first` to `last`."""

    likely: datetime
    by: datetime
    first: datetime
    last: datetime


_STEPS = (
    ("Created", "created_at"),
    ("Sent to providers", "in_progress_at"),
    ("Paused", "paused_at"),
    ("Cancel asked for", "cancelling_at"),
    ("Writing results", "finalizing_at"),
    ("Completed", "completed_at"),
    ("Failed", "failed_at"),
    ("Expired", "expired_at"),
    ("Cancelled", "cancelled_at"),
)


class BatchView:
    """A batch as the pages show it. `file_name`: what it is called where it has no name."""

    def __init__(self, batch: batches_pb2.Batch, file_name: str = "") -> None:
        self.raw = batch
        self.id = batch.id
        self.name = batch.name or file_name or batch.id
        self.revision = batch.revision
        self.state, self.word, self.tone = STATES.get(batch.state, ("", "Unknown", "still"))
        self.ended = self.state in ENDED
        self.paused = batch.HasField("paused_at") and self.state in GOING
        if self.paused:
            self.word, self.tone = "Paused", "still"
        # Rounded down, as the command has it: what is not complete is never "100%".
        tenths = math.floor(10 * batch.progress_percent)
        self.percent = 100.0 if self.state == "completed" else tenths / 10
        counts = batch.request_counts
        self.total = counts.total
        self.succeeded = counts.succeeded
        self.failed = counts.failed + counts.cancelled + counts.expired
        # Deleted by their owner, or kept long enough: those of one kind, or all.
        self.deleted = bool(batch.deleted_results)
        self.has_results = self.state in WITH_RESULTS and not self.deleted
        self.has_failures = (
            self.state in WITH_RESULTS
            and self.failed > 0
            and batches_pb2.RESULTS_KIND_FAILED not in batch.deleted_results
        )
        self.created = moment(batch.created_at)
        self.cost = _money(batch.cost, "so_far") or Decimal(0)
        self.expected = _money(batch.cost, "expected")
        self.at_most = _money(batch.cost, "at_most")
        self.reserved = _money(batch.cost, "reserved")
        self.max_cost = _money(batch.cost, "max_cost")

    @property
    def waits(self) -> str:
        """Why it waits, beyond its own pause, of which the page tells by itself; else empty."""
        reason = self.raw.waiting_reason
        return "" if self._is_own_pause(reason) else reason

    def shard_waits(self, shard: batches_pb2.ShardStatus) -> str:
        """Why a shard of it waits."""
        reason = shard.waiting_reason
        return "paused with the batch" if self._is_own_pause(reason) else reason

    def _is_own_pause(self, reason: str) -> bool:
        # It names the key, and a time in UTC. A paused provider's begins in another way.
        return self.paused and reason.startswith(f"paused: by {self.raw.paused_by} since ")

    @property
    def segments(self) -> list[tuple[str, str, int, float, float]]:
        """Of each kind of lines: name, word, count, where it begins and its width, in percent."""
        counts = self.raw.request_counts
        found: list[tuple[str, str, int, float, float]] = []
        at = 0.0
        for name, word in (
            ("succeeded", "Succeeded"),
            ("failed", "Failed"),
            ("expired", "Expired"),
            ("cancelled", "Cancelled"),
            ("processed", "Fetching results"),
            ("submitted", "At the provider"),
            ("retrying", "Retrying"),
            ("queued", "Queued"),
        ):
            number = getattr(counts, name)
            width = 100 * number / self.total if self.total else 0.0
            found.append((name, word, number, round(at, 3), round(width, 3)))
            at += width
        return found

    @property
    def steps(self) -> list[Step]:
        """What has happened so far, in order."""
        found = [
            Step(word, moment(getattr(self.raw, field)))
            for word, field in _STEPS
            if self.raw.HasField(field) and (field != "paused_at" or self.paused)
        ]
        return sorted(found, key=lambda step: step.at)

    @property
    def expires(self) -> datetime:
        """When the completion window closes."""
        return moment(self.raw.expires_at)

    @property
    def took(self) -> str:
        """From its making to its end; empty before."""
        return span((self.steps[-1].at - self.created).total_seconds()) if self.ended else ""

    @property
    def options(self) -> list[tuple[str, str]]:
        """What was asked for besides the common, and what came of it."""
        raw, found = self.raw, []
        if word := _PRIORITIES.get(raw.priority):
            found.append(("Priority", word))
        if raw.HasField("canary"):
            first = f"{lines(raw.canary.lines_per_model)} of each model"
            found.append(("Tried first", f"{first}{_CANARIES.get(raw.canary.state, '')}"))
        if raw.HasField("max_failure_rate"):
            found.append(("Stops above", f"{100 * raw.max_failure_rate:g}% of failures"))
        if raw.HasField("rescue_before"):
            told = f"{span(raw.rescue_before.seconds)} before the window closes"
            if raw.rescued_line_count:
                told += f": {lines(raw.rescued_line_count)}"
            found.append(("Rescue", told))
        if raw.HasField("reuse_answers"):
            saved = (
                f", {usd_left(amount(raw.cost.saved))} saved" if raw.cost.HasField("saved") else ""
            )
            found.append(("Answers reused", f"{lines(raw.reused_line_count)}{saved}"))
        return found

    @property
    def ends(self) -> Ends | None:
        """When it should end, as far as anybody knows."""
        if self.ended or not self.raw.HasField("completion_estimate"):
            return None
        found = self.raw.completion_estimate
        return Ends(
            moment(found.likely_from),
            moment(found.likely_until),
            moment(found.range_from),
            moment(found.range_until),
        )


def _money(message: Any, field: str) -> Decimal | None:
    return amount(getattr(message, field)) if message.HasField(field) else None
