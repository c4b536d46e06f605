"""What a command says on stderr, while it runs."""

from __future__ import annotations

import subprocess
import threading


class Told:
    """The stderr of a process, read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._text = ""
        self._over = False
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text: str, times: int = 1) -> None:
        """Until it has said something so often."""
        with self._arrived:
            assert self._arrived.wait_for(
                lambda: self._text.count(text) >= times or self._over, 30
            ), self._text
            assert self._text.count(text) >= times, self._text

    def finish(self) -> str:
        """Waits for the end of the process; returns all that it has said."""
        self._reader.join(30)
        assert not self._reader.is_alive(), self._text
        assert "Traceback" not in self._text
        return self._text

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._arrived:
                self._text += line
                self._arrived.notify_all()
        with self._arrived:
            self._over = True
            self._arrived.notify_all()
