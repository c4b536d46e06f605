"""Progress on stderr: a bar that is redrawn on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import shutil
import textwrap
import threading
import time
from collections.abc import Mapping
from typing import Protocol, TextIO

from polybatch.cli.output import display_width, fit, printable, size
from polybatch.models import Batch, Shard

PLAIN_INTERVAL = 3.0
"""Seconds between two plain lines, the first and the last not counted."""

_REDRAW_INTERVAL = 0.1
_SHOWN_SHARDS = 5
_LONGEST_BAR = 40


class Display(Protocol):
    """What commands report to while they run."""

    def upload(self, name: str, sent: int, total: int | None) -> None:
        """Bytes of a transfer so far."""
        ...

    def batch(self, batch: Batch) -> None:
        """The newest snapshot of the watched batch."""
        ...

    def trouble(self, text: str) -> None:
        """Something passing went wrong; gone with the next progress."""
        ...

    def tell(self, text: str) -> None:
        """Something to be known at once: below what is drawn over, else as a line that stays."""
        ...

    def note(self, text: str) -> None:
        """A line that stays."""
        ...

    def settle(self) -> None:
        """What is shown now stays; the next progress begins below it."""
        ...

    def close(self) -> None:
        """Nothing more is shown."""
        ...


def open_display(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Display:
    """Returns the display that suits the stream."""
    if stream.isatty() and environ.get("TERM") != "dumb":
        return TerminalDisplay(stream, colors=not environ.get("NO_COLOR"))
    return PlainDisplay(stream)


class TerminalDisplay:
    """A block of lines that is drawn over in place."""

    def __init__(self, stream: TextIO, *, colors: bool) -> None:
        self._stream = stream
        self._colors = colors
        self._blocks = _encodes(stream, "█░…·")
        self._drawn: list[int] = []
        self._lines: list[str] = []
        self._trouble = ""
        self._last_draw = 0.0
        self._started: float | None = None
        self._started_at_byte = 0

    def upload(self, name: str, sent: int, total: int | None) -> None:
        """See Display."""
        now, name = time.monotonic(), printable(name)
        if self._started is None:
            self._started, self._started_at_byte = now, sent
        if now - self._last_draw < _REDRAW_INTERVAL and sent != total:
            return
        elapsed = now - self._started
        rate = f"  {size(int((sent - self._started_at_byte) / elapsed))}/s" if elapsed > 0.5 else ""
        if total:
            share = sent / total
            text = f" {share:4.0%}  {size(sent)} of {size(total)}{rate}  {name}"
            self._show([self._bar(share, 0.0, text)])
        else:
            self._show([f"{size(sent)}{rate}  {name}"])

    def batch(self, batch: Batch) -> None:
        """See Display."""
        counts = batch.request_counts
        finished = counts.finished / counts.total if counts.total else 0.0
        failed = counts.failed / counts.total if counts.total else 0.0
        self._show(
            [
                f"{printable(batch.id)}  {self._state(batch)}",
                self._bar(
                    max(finished, batch.progress_percent / 100),
                    failed,
                    f" {batch.progress_percent:3.0f} %  {describe_counts(batch)}",
                ),
                *(f"  {printable(line)}" for line in describe_waiting(batch)),
            ]
        )

    def trouble(self, text: str) -> None:
        """See Display."""
        self._trouble = text
        self._draw()

    def tell(self, text: str) -> None:
        """See Display."""
        if self._lines:
            self.trouble(text)
        else:
            # Results may be on their way to the same terminal: nothing is drawn over then.
            self.note(text)

    def note(self, text: str) -> None:
        """See Display."""
        self.settle()
        self._stream.write(f"{printable(text)}\n")
        self._stream.flush()

    def settle(self) -> None:
        """See Display."""
        if self._trouble:
            self._trouble = ""
            self._draw()
        self._drawn, self._lines, self._started = [], [], None

    def close(self) -> None:
        """See Display."""
        self.settle()

    def _show(self, lines: list[str]) -> None:
        self._lines, self._trouble = lines, ""
        self._draw()

    def _draw(self) -> None:
        width = self._width()
        trouble = textwrap.wrap(printable(self._trouble), width - 1)
        lines = [*self._lines, *(self._paint(line, "33") for line in trouble)]
        # A terminal made narrower has wrapped what was drawn before.
        rows = sum(max(1, -(-drawn // width)) for drawn in self._drawn)
        up = f"\x1b[{rows}A" if rows else ""
        shown = [_cut_painted(line, width - 1) for line in lines]
        # Noted first: Ctrl-C may come while it is written, and what is drawn then goes over it.
        self._drawn = [display_width(_unpainted(line)) for line in shown]
        self._stream.write(f"\r{up}\x1b[J" + "".join(f"{line}\n" for line in shown))
        self._stream.flush()
        self._last_draw = time.monotonic()

    def _bar(self, share: float, failed: float, text: str) -> str:
        width = self._width()
        length = max(8, min(_LONGEST_BAR, width - len(text) - 3))
        filled = int(min(1.0, share) * length)
        # One failed line in a million is still to be seen.
        bad = min(filled, max(1, round(failed * length))) if failed and filled else 0
        full, empty = ("█", "░") if self._blocks else ("#", ".")
        return (
            self._paint(full * (filled - bad), "32")
            + self._paint(full * bad, "31")
            + empty * (length - filled)
            + text
        )

    def _state(self, batch: Batch) -> str:
        text = describe_state(batch)
        color = {"Completed": "32", "Failed": "31"}.get(batch.display_state, "36")
        return self._paint(text, color)

    def _paint(self, text: str, color: str) -> str:
        clean = printable(text)
        return f"\x1b[{color}m{clean}\x1b[0m" if self._colors and clean else clean

    def _width(self) -> int:
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except OSError:
            columns = 0
        return max(20, columns or shutil.get_terminal_size().columns)


class PlainDisplay:
    """A line for a change, at most every PLAIN_INTERVAL seconds, and always the last one."""

    def __init__(self, stream: TextIO, interval: float = PLAIN_INTERVAL) -> None:
        self._stream = stream
        self._interval = interval
        self._lock = threading.Lock()
        self._pending = ""
        self._printed = ""
        self._last_print = float("-inf")
        self._timer: threading.Timer | None = None

    def upload(self, name: str, sent: int, total: int | None) -> None:
        """See Display."""
        with self._lock:
            if self._last_print == float("-inf"):
                # A short transfer is told once, when it is through.
                self._last_print = time.monotonic()
        of_total = f" of {size(total)} ({sent / total:.0%})" if total else ""
        self._offer(f"{name}: {size(sent)}{of_total}")

    def batch(self, batch: Batch) -> None:
        """See Display."""
        waiting = "".join(f"; {line}" for line in describe_waiting(batch))
        self._offer(
            f"{batch.id}: {describe_state(batch)}, {batch.progress_percent:.0f} %, "
            f"{describe_counts(batch)}{waiting}"
        )
        if batch.ended:
            self.settle()

    def trouble(self, text: str) -> None:
        """See Display."""
        self._offer(text)

    def tell(self, text: str) -> None:
        """See Display."""
        self.note(text)

    def note(self, text: str) -> None:
        """See Display."""
        self.settle()
        with self._lock:
            self._print(text)

    def settle(self) -> None:
        """See Display."""
        with self._lock:
            self._stop_timer()
            if self._pending:
                self._print(self._pending)
                self._pending = ""
            self._last_print = float("-inf")

    def close(self) -> None:
        """See Display."""
        self.settle()

    def _offer(self, text: str) -> None:
        """Prints now, or when the interval is over unless something newer comes."""
        with self._lock:
            if text == self._printed:
                return
            wait = self._last_print + self._interval - time.monotonic()
            if wait <= 0:
                self._stop_timer()
                self._pending = ""
                self._print(text)
                return
            self._pending = text
            if self._timer is None:
                self._timer = threading.Timer(wait, self._on_interval_over)
                self._timer.daemon = True
                self._timer.start()

    def _on_interval_over(self) -> None:
        with self._lock:
            self._timer = None
            if self._pending:
                self._print(self._pending)
                self._pending = ""

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _print(self, text: str) -> None:
        self._printed = text
        self._last_print = time.monotonic()
        self._stream.write(f"{printable(text)}\n")
        self._stream.flush()


def describe_state(batch: Batch) -> str:
    """Returns the state in its three words, with the fine state beside them."""
    return f"{batch.display_state} ({batch.state})"


def describe_counts(batch: Batch) -> str:
    """Returns the counts that say something."""
    counts = batch.request_counts
    parts = [f"{counts.finished:,} of {counts.total:,} lines"]
    for number, word in (
        (counts.failed, "failed"),
        (counts.retrying, "retrying"),
        (counts.processed, "processed"),
        (counts.submitted, "submitted"),
        (counts.queued, "queued"),
    ):
        if number:
            parts.append(f"{number:,} {word}")
    return ", ".join(parts)


def describe_late(batch: Batch) -> list[str]:
    """Returns a line each for answers that came after the end, and for those that may come."""
    lines = []
    if batch.late_line_count:
        lines.append(
            f"{batch.late_line_count:,} lines were answered after the batch had ended; they are in "
            f"its results (revision {batch.results_revision})"
        )
    if batch.awaited_line_count:
        until = f", until {batch.awaited_until:%Y-%m-%d}" if batch.awaited_until else ""
        lines.append(
            f"{batch.awaited_line_count:,} failed lines may have been run and billed: their "
            f"answers come into the results when the provider gives them{until}"
        )
    return lines


def describe_waiting(batch: Batch) -> list[str]:
    """Returns a line for what waits, batch or shard, and for each error of the batch."""
    lines = [f"{error.code}: {error.message}" for error in batch.errors]
    if batch.waiting_reason:
        lines.append(f"waits: {batch.waiting_reason}")
    waiting = [shard for shard in batch.shards if shard.waiting_reason]
    lines += [_describe_shard(shard) for shard in waiting[:_SHOWN_SHARDS]]
    if len(waiting) > _SHOWN_SHARDS:
        lines.append(f"and {len(waiting) - _SHOWN_SHARDS} more shards wait")
    return lines


def _describe_shard(shard: Shard) -> str:
    model = shard.model.removeprefix(f"{shard.provider}/")
    name = f"{shard.provider} {model}".strip()
    return f"{name} ({shard.line_count:,} lines) waits: {shard.waiting_reason}"


def _encodes(stream: TextIO, letters: str) -> bool:
    try:
        letters.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _unpainted(text: str) -> str:
    plain, rest = "", text
    while "\x1b[" in rest:
        before, _, rest = rest.partition("\x1b[")
        plain += before
        rest = rest.partition("m")[2]
    return plain + rest


def _cut_painted(text: str, width: int) -> str:
    """Cuts a line to so many columns; colours are dropped from one that is too long."""
    plain = _unpainted(text)
    return text if display_width(plain) <= width else fit(plain, width)
