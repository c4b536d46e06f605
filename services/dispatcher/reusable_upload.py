"""Whether what an earlier attempt uploaded can be sent again."""

from __future__ import annotations

from datetime import timedelta

from core.ledger import Shard, now
from core.providers import Provider, Upload

_MARGIN = timedelta(hours=1)
"""Before the provider deletes it: the check of a new batch still has to read it."""


def kept_upload(shard: Shard, provider: Provider, credential: str) -> Upload | None:
    """The upload of an earlier attempt, if it is the same content, and the provider has it.

    `credential`: of today; another key does not see the file.
    """
    if not shard.remote_file_id or shard.uploaded_at is None:
        return None
    same = (
        shard.credential == credential
        and shard.remote_model == provider.remote_model(shard.model)
        and bool(shard.file_token)
    )
    young = now() - shard.uploaded_at < provider.input_lifetime - _MARGIN
    if not (same and young):
        return None
    return Upload(shard.remote_file_id, usable=shard.dispatched_at is not None)
