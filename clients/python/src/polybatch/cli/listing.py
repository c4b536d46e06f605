"""Rows in columns on stdout: rich's table on a terminal, aligned plain lines elsewhere.

The plain lines are not rich's, which has to see all rows before it shows the first: they come
page by page, for whoever reads them in a pipe.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Self

from polybatch.cli.output import printable, row, terminal

if TYPE_CHECKING:
    from rich.console import Console

    from polybatch import File

_ROWS_OF_A_TABLE = 100
_GAP = 2
_LEAST = 16
"""Columns that are enough for text that wraps."""
_STATE_STYLES = {
    **dict.fromkeys(("Completed", "completed", "ready", "delivered"), "green"),
    **dict.fromkeys(("Failed", "failed", "expired", "cancelled", "invalid"), "red"),
}


def state_style(state: str) -> str:
    """Returns the colour of a state."""
    return _STATE_STYLES.get(state.partition(" (")[0], "cyan")


class FileNames:
    """Names of files by their ids, found in the account's list as far as it has to be read."""

    def __init__(self, newest_first: Iterable[File]) -> None:
        self._files = iter(newest_first)
        self._names: dict[str, str] = {}

    def of(self, file_id: str) -> str:
        """Returns the name; empty where the file is deleted."""
        while file_id not in self._names:
            file = next(self._files, None)
            if file is None:
                return ""
            self._names[file.id] = file.filename
        return self._names[file_id]


class Listing:
    """Human-readable rows, in columns of a name and a width, as `output.row` takes it.

    On a terminal text that is wider, or that has the width 0, wraps there; `spare` are the
    columns that a narrow one goes without, the first one first. Where text would still be squeezed
    to a few letters a line, each row is shown by itself, its cells below each other.
    """

    def __init__(self, columns: Mapping[str, int], *spare: str) -> None:
        self._columns = columns
        self._spare = spare
        self._rows: list[tuple[str, ...]] = []
        self._header = any(name.isupper() for name in columns)
        self._console = terminal(sys.stdout)
        self.plain = self._console is None
        """Whether it is no terminal that shows it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        if self._console is not None and self._rows:
            self._show(self._console)

    def add(self, *cells: str) -> None:
        """One more row."""
        if self._console is None:
            widths = tuple(self._columns.values())
            if self._header:
                print(row(tuple(self._columns), widths), flush=True)
                self._header = False
            print(row(cells, widths), flush=True)
            return
        self._rows.append(tuple(printable(cell) for cell in cells))
        if len(self._rows) == _ROWS_OF_A_TABLE:
            self._show(self._console)

    def _show(self, console: Console) -> None:
        from rich.cells import cell_len
        from rich.table import Table
        from rich.text import Text

        texts = dict(zip(self._columns, zip(*self._rows, strict=True), strict=True))
        needed = {
            name: max(map(cell_len, (name, *cells) if self._header else cells))
            for name, cells in texts.items()
        }
        # Ids at the beginning stay whole, to be copied.
        whole = {name for name, width in self._columns.items() if needed[name] <= abs(width)}
        first = next(iter(texts))
        whole.add(first)
        shown = list(texts)

        def fits() -> bool:
            least = (needed[n] if n in whole else min(needed[n], _LEAST) for n in shown)
            return sum(least) + _GAP * (len(shown) - 1) <= console.width

        for name in self._spare:
            if fits():
                break
            shown.remove(name)
        if not fits():
            if self._header and not all(self._columns[name] for name in shown):
                self._show_each(console)
                return
            # What is not wrapped would be cut.
            whole = {first}
        table = Table(
            box=None,
            show_header=self._header,
            header_style="bold",
            pad_edge=False,
            padding=(0, _GAP, 0, 0),
        )
        for name in shown:
            table.add_column(
                name,
                justify="right" if self._columns[name] < 0 else "left",
                no_wrap=name in whole,
                overflow="fold",
            )
        for cells in zip(*(texts[name] for name in shown), strict=True):
            # As Text, so that no markup counts in what comes from files and providers.
            styles = [
                state_style(cell) if "state" in (name.lower(), cells[0]) and at else ""
                for at, (name, cell) in enumerate(zip(shown, cells, strict=True))
            ]
            if not self._header:
                styles[0] = "bold"
            table.add_row(*map(Text, cells, styles))
        console.print(table)
        self._rows = []

    def _show_each(self, console: Console) -> None:
        from rich.table import Table
        from rich.text import Text

        for cells in self._rows:
            table = Table(box=None, show_header=False, pad_edge=False, padding=(0, _GAP, 0, 0))
            table.add_column(no_wrap=True)
            table.add_column(overflow="fold")
            for name, cell in zip(self._columns, cells, strict=True):
                if cell:
                    style = state_style(cell) if name == "STATE" else ""
                    table.add_row(Text(name, "bold"), Text(cell, style))
            console.print(table)
            console.print()
        self._rows = []
