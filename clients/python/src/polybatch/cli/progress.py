"""Progress on stderr: a bar that is redrawn on a terminal, a plain line now and then elsewhere.

The plain lines are not rich's, which shows nothing until the end where there is no terminal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TextIO

from polybatch.cli.describe import (
    describe_counts,
    describe_end,
    describe_pace,
    describe_state,
    describe_waiting,
)
from polybatch.cli.output import percent, printable, size, terminal

if TYPE_CHECKING:
    from polybatch import Batch

PLAIN_INTERVAL = 3.0
"""Seconds between two plain lines, the first and the last not counted."""


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

    def suspend(self, stop: Callable[[], None]) -> None:
        """Calls `stop`, which returns when the process goes on; others have written meanwhile."""
        ...

    def close(self) -> None:
        """Nothing more is shown."""
        ...


def open_display(stream: TextIO) -> Display:
    """Returns the display that suits the stream."""
    console = terminal(stream)
    if console is None:
        return PlainDisplay(stream)
    from polybatch.cli.terminal import TerminalDisplay

    return TerminalDisplay(stream, console)


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
        pace = "".join(f", {part}" for part in (describe_pace(batch), describe_end(batch)) if part)
        self._offer(
            f"{batch.id}: {describe_state(batch)}, {percent(batch.progress_percent)}, "
            f"{describe_counts(batch)}{pace}{waiting}"
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

    def suspend(self, stop: Callable[[], None]) -> None:
        """See Display."""
        stop()

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
