"""What is done once an account may spend more: after a grant, or a raised budget."""

from __future__ import annotations

from core.ledger import Ledger
from core.pipeline import EventPublisher, WaitingForFunds


class Funds:
    """The one place that sets going what waits for funds."""

    def __init__(self, ledger: Ledger, publisher: EventPublisher) -> None:
        self._waiting = WaitingForFunds(ledger, publisher)

    async def raised(self, account_id: str) -> None:
        """The account, or one of its keys, may spend more than before."""
        await self._waiting.account(account_id)
