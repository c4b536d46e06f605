"""Watches that outlive broken connections."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable

from polybatch._operations.calls import Caller
from polybatch._transport import methods
from polybatch.errors import NotFound, PolybatchError, WaitTimeout
from polybatch.models import Batch, BatchState
from polybatch.v1 import batches_pb2, status_pb2

# The first one may be that of a service that is stopping.
_ENDS_OF_UNKNOWN_STATE = 2

BatchProgress = Callable[[Batch], None]
"""Called with each snapshot of a batch that is waited for."""


class Watches:
    """StatusService."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def watch(
        self, batch_id: str, *, last_revision: int, within: float | None
    ) -> AsyncGenerator[Batch, None]:
        """Yields snapshots with rising revisions, the last one of an ended batch.

        In a state that is not known here a batch has ended once two streams in a row have
        ended well and nothing new came. WaitTimeout after `within` seconds.
        """
        deadline = None if within is None else time.monotonic() + within
        attempts = self._caller.attempts(methods.WATCH_BATCH.server, deadline)
        revision = last_revision
        ends = 0
        while True:
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                raise _timeout(batch_id, within)
            request = status_pb2.WatchBatchRequest(batch_id=batch_id, last_revision=revision)
            stream = self._caller.transport.replies(methods.WATCH_BATCH, request, remaining)
            try:
                while (reply := await stream.read()) is not None:
                    attempts.progress()
                    # A sign of life holds no batch; an old revision is a replica's lag.
                    if not reply.HasField("batch") or reply.batch.revision <= revision:
                        continue
                    revision, ends = reply.batch.revision, 0
                    batch = Batch.from_proto(reply.batch)
                    yield batch
                    if batch.ended:
                        return
                # OK without an end: the caller has seen the last revision before, or
                # the collector is going down.
                batch = await self._get(batch_id, deadline)
                if batch.revision > revision:
                    revision, ends = batch.revision, 0
                    yield batch
                if batch.ended:
                    return
                if batch.state is BatchState.UNSPECIFIED:
                    ends += 1
                    if ends == _ENDS_OF_UNKNOWN_STATE:
                        return
                    continue
                raise stream.ended_early("the watch")
            except PolybatchError as error:
                # Also one that the question above has waited for as long as it may.
                if deadline is not None and time.monotonic() >= deadline:
                    raise _timeout(batch_id, within) from error
                await attempts.pause(error)
            finally:
                stream.cancel()

    async def watch_all(self) -> AsyncGenerator[Batch, None]:
        """Yields snapshots of all batches for ever; none that was seen open ends unseen."""
        attempts = self._caller.attempts(methods.WATCH_BATCHES.server)
        seen = _Seen()
        while True:
            stream = self._caller.transport.replies(
                methods.WATCH_BATCHES, status_pb2.WatchBatchesRequest()
            )
            try:
                # A batch that ended while no stream was open is in no snapshot to come.
                missed = seen.open_ids()
                while (reply := await stream.read()) is not None:
                    attempts.progress()
                    if reply.HasField("batch"):
                        batch = Batch.from_proto(reply.batch)
                        if seen.is_news(batch):
                            yield batch
                    while missed:
                        caught_up = await self._get_or_none(missed.pop())
                        if caught_up is not None and seen.is_news(caught_up, remember=True):
                            yield caught_up
                raise stream.ended_early("the watch")
            except PolybatchError as error:
                await attempts.pause(error)
            finally:
                stream.cancel()

    async def wait(
        self, batch_id: str, *, within: float | None, progress: BatchProgress | None = None
    ) -> Batch:
        """Returns the batch once it has ended. WaitTimeout after `within` seconds."""
        last: Batch | None = None
        async for batch in self.watch(batch_id, last_revision=0, within=within):
            last = batch
            if progress is not None:
                progress(batch)
        assert last is not None, "a watch yields at least the snapshot that it ends with"
        return last

    async def _get(self, batch_id: str, until: float | None = None) -> Batch:
        request = batches_pb2.GetBatchRequest(batch_id=batch_id)
        attempts = self._caller.attempts(methods.GET_BATCH.server, until)
        return Batch.from_proto(await self._caller.unary(methods.GET_BATCH, request, attempts))

    async def _get_or_none(self, batch_id: str) -> Batch | None:
        try:
            return await self._get(batch_id)
        except NotFound:
            return None


def _timeout(batch_id: str, within: float | None) -> WaitTimeout:
    return WaitTimeout(
        f"{batch_id} has not ended within {within:g} s.",
        reason="WAIT_TIMEOUT",
        next_step="it goes on; wait for it again.",
    )


class _Seen:
    """The newest revision seen of each batch that was open then."""

    def __init__(self) -> None:
        self._revisions: dict[str, int] = {}
        self._ended: set[str] = set()

    def is_news(self, batch: Batch, *, remember: bool = False) -> bool:
        """Notes a snapshot; False for one that is not newer than the last.

        An ended batch is forgotten, as nothing more comes, unless `remember`: it was
        asked for out of turn, and older snapshots of it may still be on their way.
        """
        if batch.revision <= self._revisions.get(batch.id, -1):
            return False
        self._revisions[batch.id] = batch.revision
        if batch.ended:
            if remember:
                self._ended.add(batch.id)
            else:
                del self._revisions[batch.id]
        return True

    def open_ids(self) -> list[str]:
        """Returns the batches that had not ended when last seen, and forgets the others."""
        for batch_id in self._ended:
            self._revisions.pop(batch_id, None)
        self._ended.clear()
        return list(self._revisions)
