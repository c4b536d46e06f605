"""Progress on a terminal: a block of lines that is drawn over in place.

The drawing itself is not rich.live's: that loses its place when the terminal is made narrower,
which leaves old lines behind, and it hides the cursor, for good if the command is killed.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TextIO

from rich.cells import cell_len
from rich.console import (
    Console,
    ConsoleOptions,
    Group,
    OverflowMethod,
    RenderableType,
    RenderResult,
)
from rich.progress import Progress, TaskID
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from polybatch.cli.describe import (
    describe_counts,
    describe_end,
    describe_pace,
    describe_state,
    describe_waiting,
)
from polybatch.cli.listing import state_style
from polybatch.cli.output import columns, percent, printable, size

if TYPE_CHECKING:
    from polybatch import Batch

_REDRAW_INTERVAL = 0.1
_TICK = 1.0
"""Seconds between two looks at the clock while no news of a batch come."""
_LONGEST_BAR = 40
_SHORTEST_BAR = 8
_UNSURE_RATE = 0.5
"""Seconds in which no rate of a transfer is told yet."""


class TerminalDisplay:
    """See Display."""

    def __init__(self, stream: TextIO, console: Console) -> None:
        self._stream = stream
        self._console = console
        self._drawn: list[int] = []
        self._lines: list[RenderableType] = []
        self._trouble = ""
        self._last_draw = 0.0
        self._transfer: Progress | None = None
        self._lock = threading.RLock()
        """Two threads draw: the command's own, and the one that lets the time run."""
        self._ticking: threading.Event | None = None
        """Set to end that thread."""
        self._batch: Batch | None = None
        self._pace = ""
        self._held_back = False
        """What is to be shown is not on the screen: it was the shell's meanwhile."""

    def upload(self, name: str, sent: int, total: int | None) -> None:
        """See Display."""
        if self._transfer is None:
            # Shows nothing itself: it reckons the rate of the last half minute and what is left.
            self._transfer = Progress(console=self._console, auto_refresh=False)
            self._transfer.add_task(name, total=total, completed=sent)
        self._transfer.update(TaskID(0), completed=sent)
        if time.monotonic() - self._last_draw < _REDRAW_INTERVAL and sent != total:
            return
        [task] = self._transfer.tasks
        text = f"{size(sent)} of {size(total)}" if total else size(sent)
        if task.speed and (task.elapsed or 0) > _UNSURE_RATE:
            text += f"  {size(int(task.speed))}/s"
            if task.time_remaining:
                text += f"  {timedelta(seconds=math.ceil(task.time_remaining))} left"
        text += f"  {printable(name)}"
        if total:
            self._show(_Bar(sent / total, 0.0, 0.0, f"{sent / total:4.0%}  {text}"))
        else:
            self._show(self._line(text))

    def batch(self, batch: Batch) -> None:
        """See Display."""
        with self._lock:
            self._batch = batch
            self._show(*self._describe(batch))
            if self._ticking is None and not batch.ended:
                self._ticking = threading.Event()
                threading.Thread(target=self._tick, args=(self._ticking,), daemon=True).start()

    def _tick(self, over: threading.Event) -> None:
        """Lets the time that is shown run until `over`."""
        while not over.wait(_TICK):
            with self._lock:
                if over.is_set() or self._batch is None:
                    return
                before, lines = self._pace, self._describe(self._batch)
                if self._pace != before or self._held_back:
                    self._lines = lines
                    self._draw()

    def _describe(self, batch: Batch) -> list[RenderableType]:
        counts = batch.request_counts
        total = counts.total or 1
        state = (describe_state(batch), state_style(batch.display_state))
        self._pace = describe_pace(batch)
        return [
            self._line(f"{batch.id}  ", state, f"  {self._pace}" if self._pace else ""),
            _Bar(
                max(counts.finished / total, batch.progress_percent / 100),
                counts.failed / total,
                (counts.cancelled + counts.expired) / total,
                f"{percent(batch.progress_percent):>5}  {describe_counts(batch)}",
            ),
            *(self._line(f"  {line}") for line in (describe_end(batch),) if line),
            *(self._reason(f"  {line}", batch) for line in describe_waiting(batch)),
        ]

    def trouble(self, text: str) -> None:
        """See Display."""
        with self._lock:
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
        with self._lock:
            if self._ticking is not None:
                self._ticking.set()
                self._ticking = None
            if self._trouble:
                self._trouble = ""
                self._draw()
            if self._held_back and self._lines:
                self._write()
            self._drawn, self._lines, self._transfer = [], [], None
            self._batch = None

    def suspend(self, stop: Callable[[], None]) -> None:
        """See Display."""
        # The lock, lest the other thread draws in between.
        with self._lock:
            # Drawn anew at the next tick. Not here: this may have come amid a write.
            self._drawn, self._held_back = [], True
            stop()

    def close(self) -> None:
        """See Display."""
        self.settle()

    def _line(self, *parts: str | tuple[str, str]) -> Text:
        """One line, cut where the terminal ends."""
        overflow: OverflowMethod = "crop" if self._console.options.ascii_only else "ellipsis"
        clean = [printable(p) if isinstance(p, str) else (printable(p[0]), p[1]) for p in parts]
        return Text.assemble(*clean, no_wrap=True, overflow=overflow)

    def _reason(self, text: str, batch: Batch) -> Text:
        """Whole once the batch has ended, as it stays then; many that wait would fill the screen
        before."""
        return Text(printable(text)) if batch.ended else self._line(text)

    def _show(self, *lines: RenderableType) -> None:
        self._lines, self._trouble = list(lines), ""
        self._draw()

    def _draw(self) -> None:
        if self._in_background():
            # Where the cursor is, and what is above it, is the affair of who has the terminal.
            self._drawn, self._held_back = [], True
        else:
            self._write()

    def _in_background(self) -> bool:
        try:
            return os.tcgetpgrp(self._stream.fileno()) != os.getpgrp()
        except (OSError, AttributeError):
            # It is not the terminal that the process was started from, or nobody shares it.
            return False

    def _write(self) -> None:
        self._held_back = False
        width = columns(self._stream)
        self._console.width = width - 1
        trouble = [Text(printable(self._trouble), "yellow")] if self._trouble else []
        lines = self._console.render_lines(Group(*self._lines, *trouble), pad=False)
        with self._console.capture() as drawing:
            segments = [segment for line in lines for segment in (*line, Segment.line())]
            self._console.print(Segments(segments), end="", crop=False)
        # A terminal made narrower has wrapped what was drawn before.
        rows = sum(max(1, -(-drawn // width)) for drawn in self._drawn)
        up = f"\x1b[{rows}A" if rows else ""
        # Noted first: Ctrl-C may come while it is written, and what is drawn then goes over it.
        self._drawn = [Segment.get_line_length(line) for line in lines]
        self._stream.write(f"\r{up}\x1b[J{drawing.get()}")
        self._stream.flush()
        self._last_draw = time.monotonic()


@dataclass(frozen=True)
class _Bar:
    """How far it is, and which part of that failed or was stopped, with text that wraps beside it.

    rich's own bar knows one colour and no failures, and none of its bars is of plain letters.
    """

    share: float
    failed: float
    stopped: float
    """Cancelled or expired."""
    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """See rich.protocol."""
        room = options.max_width - cell_len(self.text) - 1
        length = max(_SHORTEST_BAR, min(_LONGEST_BAR, room))
        filled = int(min(1.0, self.share) * length)
        bad = _seen(self.failed, length, filled)
        stopped = _seen(self.stopped, length, filled - bad)
        full, empty = "#." if options.ascii_only else "█░"
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=length, no_wrap=True)
        grid.add_column()
        bar = Text.assemble(
            (full * (filled - bad - stopped), "green"),
            (full * stopped, "yellow"),
            (full * bad, "red"),
            empty * (length - filled),
        )
        grid.add_row(bar, Text(self.text))
        yield grid


def _seen(share: float, length: int, room: int) -> int:
    """Letters of a bar for a share: one line in a million is still to be seen."""
    return min(room, max(1, round(share * length))) if share and room else 0
