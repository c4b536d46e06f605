"""Delete what was uploaded for a shard, once nothing needs it any more.

It is housekeeping: a file that stays behind costs storage at the provider, at most until
it expires there, so nothing here fails or holds up a batch; what the provider did not do is
tried again later. The ledger says who deletes, so nothing is deleted twice.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog
from polybatch.v1.events_pb2 import WorkItem

from core.bus import Ack, Delivery, Handler, Snooze
from core.ledger import LedgerUnavailable, LeftFile, Shard, now
from core.pipeline.runtime import Runtime
from core.providers import Provider, ProviderRejected, ProviderUnavailable, Registry

log = structlog.get_logger()

# A provider that is slow to delete must not keep results from being fetched.
_PATIENCE = 15.0
_FIRST_PAUSE = timedelta(seconds=5)


class RemoteFileCleanup:
    """The uploads of settled shards, at all providers."""

    def __init__(self, runtime: Runtime, providers: Registry) -> None:
        self._remote_files = runtime.ledger.remote_files
        self._providers = providers

    async def discard(self, shard: Shard) -> None:
        """Delete a shard's uploads if it is settled by now and nobody else does."""
        provider = self._providers.get(shard.provider)
        if provider is None or not provider.input_lifetime:
            return
        left = await self._remote_files.take(shard.id)
        if left is not None:
            await self._delete(provider, left)

    async def clear(self, batch_id: str) -> None:
        """Delete what is left of a batch's settled shards."""
        for shard_id in await self._remote_files.left(batch_id):
            left = await self._remote_files.take(shard_id)
            if left is None:
                continue
            provider = self._providers.get(left.provider)
            if provider is not None:
                await self._delete(provider, left)
            else:
                # Its key may be set again.
                await self._remote_files.put_back(left, now() + _pause(left))

    async def delete(self, shard: Shard) -> None:
        """Delete all uploads of a settled shard, also what the ledger has never heard of."""
        provider = self._providers.get(shard.provider)
        if provider is not None:
            left = LeftFile(
                shard.id,
                shard.batch_id,
                shard.provider,
                remote_file_id="",
                orphans=True,
                since=shard.created_at,
                settled_at=shard.settled_at or now(),
            )
            await self._delete(provider, left)

    def clearing(self, handler: Handler) -> Handler:
        """A handler of a batch's steps, after which what is left of it is deleted.

        So a process that died between the end of a shard and the deletion costs nothing.
        """

        async def handle(item: WorkItem, delivery: Delivery) -> Ack | Snooze:
            outcome = await handler(item, delivery)
            try:
                await self.clear(item.batch_id)
            except LedgerUnavailable as error:
                # What the handler has done stands; only files are left behind.
                log.warning("remote_files_not_deleted", batch_id=item.batch_id, cause=str(error))
            return outcome

        return handle

    async def _delete(self, provider: Provider, left: LeftFile) -> None:
        ids = {"batch_id": left.batch_id, "shard_id": left.shard_id}
        try:
            async with asyncio.timeout(_PATIENCE):
                if left.orphans:
                    count = await provider.discard_all(left.shard_id, left.since)
                    log.debug("remote_files_deleted", **ids, files=count)
                elif left.remote_file_id:
                    await provider.discard(left.remote_file_id)
        except (ProviderUnavailable, ProviderRejected, TimeoutError) as error:
            again = _next_try(error, left, provider.input_lifetime)
            log.warning(
                "remote_file_not_deleted",
                **ids,
                remote_file_id=left.remote_file_id,
                orphans=left.orphans,
                cause=str(error) or type(error).__name__,
                again_at=again.isoformat() if again else None,
            )
            if again is not None:
                await self._remote_files.put_back(left, again)


def _next_try(error: Exception, left: LeftFile, lifetime: timedelta) -> datetime | None:
    """When to try a deletion again: soon at first, then less and less often, until the
    provider deletes the file itself. None where it will not come to pass.

    It may have come to pass without our knowing: then there is nothing left to delete.
    """
    if isinstance(error, ProviderRejected) and not error.access:
        return None
    asked = getattr(error, "retry_after", None) or 0.0
    pause = max(_pause(left), timedelta(seconds=asked))
    return now() + pause if now() - left.settled_at < lifetime else None


def _pause(left: LeftFile) -> timedelta:
    """Until the next try: the longer, the longer it has been tried."""
    return max(now() - left.settled_at, _FIRST_PAUSE)
