"""Delete the input that was uploaded for a shard, once nothing needs it any more.

Called when the provider's batch has ended and what came of its lines is in the ledger.
It is housekeeping: a file that stays behind costs storage at the provider, at most until
it expires there, so nothing here fails or holds up a batch.
"""

from __future__ import annotations

import asyncio

import structlog

from core.ledger import Shard
from core.providers import Provider, ProviderRejected, ProviderUnavailable

log = structlog.get_logger()

# A provider that is slow to delete must not keep results from being fetched.
_PATIENCE = 15.0


async def discard_input(provider: Provider, shard: Shard) -> None:
    """Delete the input file of a shard's latest attempt at its provider."""
    if not shard.remote_file_id:
        return
    try:
        async with asyncio.timeout(_PATIENCE):
            await provider.discard(shard.remote_file_id)
    except (ProviderUnavailable, ProviderRejected, TimeoutError) as error:
        log.warning(
            "input_not_deleted",
            batch_id=shard.batch_id,
            shard_id=shard.id,
            remote_file_id=shard.remote_file_id,
            cause=str(error) or type(error).__name__,
        )
