"""What another call does between two steps of one, for tests that cannot wait for the chance."""

from __future__ import annotations

from typing import Any

import pytest

from core.ledger import Batches, RequestIdReused
from tests.support.gateway.running import Gateway


def freed_at_once(gateway: Gateway, batch_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch of a request id is made behind another call's first look, and deleted at once."""
    create, find, looked = Batches.create, Batches.find_request, []

    async def late(self: Batches, *args: Any) -> Any:
        looked.append(args)
        return None if len(looked) == 1 else await find(self, *args)

    async def freed(self: Batches, *args: Any, **more: Any) -> Any:
        made = await create(self, *args, **more)
        if isinstance(made, RequestIdReused):
            assert made.batch_id == batch_id
            await gateway.ledger.removal.delete(args[0].account_id, batch_id)
        return made

    monkeypatch.setattr(Batches, "find_request", late)
    monkeypatch.setattr(Batches, "create", freed)
