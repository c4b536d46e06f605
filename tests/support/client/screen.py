"""A pseudo-terminal, for what the command shows on one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
import threading

CONTROL = re.compile(r"\x1b\[([\d;]*)([A-Za-z])")


class Screen:
    """A pseudo-terminal and what would be seen on it."""

    def __init__(self, columns: int) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(columns)
        self.raw = ""
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, columns: int) -> None:
        """Changes the width."""
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def wait_for(self, text: str) -> None:
        """Until the text has been written."""
        self.wait_for_match(re.escape(text))

    def wait_for_match(self, pattern: str) -> None:
        """Until something has been written that fits."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: re.search(pattern, self.raw), 20), self.raw

    def finish(self) -> None:
        """Reads what is left."""
        os.close(self.slave)
        self._reader.join(10)
        os.close(self.master)

    def lines(self, *, styled: bool = False) -> list[str]:
        """The lines that a terminal would show; `styled`: with the codes of their colours."""
        shown: list[str] = [""]
        row = 0
        at = 0
        while at < len(self.raw):
            letter = self.raw[at]
            match = CONTROL.match(self.raw, at)
            if match:
                at = match.end()
                if match[2] == "A":
                    row -= int(match[1] or 1)
                    assert row >= 0, "the cursor left the screen"
                elif match[2] == "J":
                    del shown[row + 1 :]
                    shown[row] = ""
                else:
                    assert match[2] == "m", f"unexpected {match[0]!r}"
                    shown[row] += match[0] if styled else ""
                continue
            at += 1
            if letter == "\n":
                row += 1
                if row == len(shown):
                    shown.append("")
            elif letter != "\r":
                shown[row] += letter
        return [line for line in shown if line]

    def _read(self) -> None:
        decoded = b""
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                # Linux says EIO where every writer has gone.
                return
            if not data:
                return
            decoded += data
            with self._arrived:
                self.raw = decoded.decode(errors="ignore")
                self._arrived.notify_all()
