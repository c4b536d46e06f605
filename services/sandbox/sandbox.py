"""The sandbox as a whole: what it holds, its options, its faults and its bill."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from itertools import islice
from pathlib import Path
from time import time
from typing import Any

import msgspec
import structlog

from services.sandbox.batch import Batch
from services.sandbox.bill import Bill
from services.sandbox.config import Options, merge
from services.sandbox.faults import Faults
from services.sandbox.store import File, Store, Workspace

_LINES_AT_ONCE = 1_000


class Sandbox:
    """Its contents lie in a folder of their own within `data_dir`, emptied at the start."""

    def __init__(self, data_dir: Path, options: Options) -> None:
        self.store = Store(data_dir)
        self.bill = Bill(self.store.root)
        self.faults = Faults()
        self.options = self._first_options = options
        self.faults.replace(merge(options, {}).faults)
        self.checking = asyncio.Lock()
        """Held while a batch file is checked: one at a time, so that memory is bounded."""
        self._tasks: set[asyncio.Task[None]] = set()

    def change(self, changes: dict[str, Any]) -> None:
        """Change some options. Raises msgspec.ValidationError."""
        self.options = merge(self.options, changes)
        if "faults" in changes:
            self.faults.replace(self.options.faults)

    def current(self) -> dict[str, Any]:
        """The options, with the faults that may still strike."""
        return {
            **msgspec.to_builtins(self.options),
            "faults": msgspec.to_builtins(self.faults.left()),
        }

    async def reset(self) -> None:
        """Back to the start: no files, no batches, an empty bill, the first options."""
        await self.close()
        files = self.store.files()
        self.store.reset()
        self.bill.reset(files)
        self.faults.reset()
        self.options = self._first_options
        self.faults.replace(merge(self.options, {}).faults)

    def look(self, batch: Batch) -> Batch:
        """Bring a batch up to date, and bill it when it has come to its end."""
        if not batch.ended:
            batch.advance(time(), self.options)
            if batch.ended:
                self.bill.ended(batch)
        return batch

    async def report(self) -> dict[str, Any]:
        """The bill as of now."""
        batches = [self.look(batch) for batch in self.store.batches()]
        return await self.bill.report(batches, self.store.uploads(self.gone))

    def billed_lines(self) -> Iterator[bytes]:
        """What each billed line has used, as JSON lines, a group at a time."""
        for batch in self.store.batches():
            self.look(batch)
        lines = self.bill.lines()
        while group := list(islice(lines, _LINES_AT_ONCE)):
            yield b"".join(msgspec.json.encode(line) + b"\n" for line in group)

    def file(self, workspace: Workspace, file_id: str) -> File | None:
        """A file of a workspace; None if it is unknown, was deleted or has expired."""
        file = workspace.files.get(file_id)
        return None if file is None or self.gone(file) else file

    def gone(self, file: File) -> bool:
        """Whether a file has expired."""
        return file.gone(time(), self.options.upload_life_seconds)

    def find(self, workspace: Workspace, batch_id: str) -> Batch | None:
        """A batch of a workspace, brought up to date; None if it is unknown or not seen yet."""
        batch = workspace.batches.get(batch_id)
        if batch is None or not self._visible(batch):
            return None
        return self.look(batch)

    def newest_first(self, workspace: Workspace) -> list[Batch]:
        """The batches of a workspace that can be seen, not brought up to date."""
        return [b for b in reversed(workspace.batches.values()) if self._visible(b)]

    def _visible(self, batch: Batch) -> bool:
        return time() >= batch.created_at + self.options.list_lag_seconds

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the requests until it is done or the sandbox closes."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            structlog.get_logger().error("sandbox_work_failed", exc_info=error)

    async def close(self) -> None:
        """Stop all work that `start` began."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
