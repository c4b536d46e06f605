"""What is done once an account may spend more: after a grant, or a raised budget."""

from __future__ import annotations

from core.pipeline import EventPublisher


class Funds:
    """The one place that sets going what waits for funds."""

    def __init__(self, publisher: EventPublisher) -> None:
        self._publisher = publisher

    async def raised(self, account_id: str) -> None:
        """The account, or one of its keys, may spend more than before."""
        # Nothing waits for funds as long as nothing is held back for the want of them.
