"""The files that tell others where the suite is, kept right while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog

from services.supervisor.plan import Plan
from services.supervisor.report import write_addresses, write_ready_file

log = structlog.get_logger()

_PAUSE = 1.0


class Written:
    """Writes them whenever everything is healthy; again and again while that cannot be.

    The suite goes on without: who makes room needs it, to delete files and batches.
    """

    def __init__(self, plan: Plan, ready_file: Path | None) -> None:
        self._plan = plan
        self._ready_file = ready_file
        self._pids: Mapping[str, int] = {}
        self._again: asyncio.TimerHandle | None = None

    def tell(self, pids: Mapping[str, int]) -> None:
        """Write the addresses for clients, and the ready file with these process ids."""
        self._pids = pids
        self.close()
        try:
            self._write()
        except OSError as error:
            log.warning(
                "addresses_not_written",
                cause=str(error),
                next_step=f"make room for {' and '.join(map(str, self._paths()))}, in folders that "
                "this user may write; it is tried again",
            )
            self._later()

    def close(self) -> None:
        """Try no more."""
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _write(self) -> None:
        try:
            write_addresses(self._plan)
        finally:
            # They may lie on two disks, and clients need only the first.
            if self._ready_file is not None:
                write_ready_file(self._ready_file, self._plan, self._pids)

    def _paths(self) -> list[Path]:
        return [each for each in (self._plan.addresses_file, self._ready_file) if each is not None]

    def _later(self) -> None:
        self._again = asyncio.get_running_loop().call_later(_PAUSE, self._retry)

    def _retry(self) -> None:
        try:
            self._write()
        except OSError as error:
            log.debug("addresses_not_written", cause=str(error))
            self._later()
        else:
            self._again = None
            log.info("addresses_written")
