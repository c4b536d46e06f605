"""The webhook endpoints of the account, for the asyncio client."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, Iterable

from polybatch._operations.webhooks import WebhookRequests
from polybatch.models import WebhookDelivery, WebhookDeliveryState, WebhookEndpoint

__all__ = ["AsyncWebhooks"]


class AsyncWebhooks:
    """Webhook endpoints and deliveries: `client.webhooks`."""

    def __init__(self, requests: WebhookRequests) -> None:
        self._requests = requests

    async def create(
        self,
        url: str | None = None,
        *,
        event_types: Iterable[str] = (),
        description: str = "",
        for_batch_urls: bool = False,
    ) -> WebhookEndpoint:
        """Makes an endpoint; its `secret` is in this answer and nowhere else.

        `event_types`: "batch.completed", "batch.failed", "batch.expired", "batch.cancelled";
        all if left out. `for_batch_urls`: without a url, the one whose secret signs what
        goes to the `webhook_url` of single batches. Conflict where the account has one for the url.
        """
        return await self._requests.create(
            url,
            event_types=event_types,
            description=description,
            for_batch_urls=for_batch_urls,
        )

    async def get(self, endpoint_id: str) -> WebhookEndpoint:
        """Returns an endpoint."""
        return await self._requests.get(endpoint_id)

    async def list(self) -> builtins.list[WebhookEndpoint]:
        """Returns the account's endpoints, oldest first."""
        return await self._requests.list()

    async def update(
        self,
        endpoint_id: str,
        *,
        url: str | None = None,
        event_types: Iterable[str] | None = None,
        description: str | None = None,
        disabled: bool | None = None,
    ) -> WebhookEndpoint:
        """Changes what is given. Nothing is delivered to an endpoint while it is disabled."""
        return await self._requests.update(
            endpoint_id,
            url=url,
            event_types=event_types,
            description=description,
            disabled=disabled,
        )

    async def delete(self, endpoint_id: str) -> None:
        """Deletes an endpoint, its deliveries, and what still waits to be delivered."""
        await self._requests.delete(endpoint_id)

    async def rotate_secret(
        self, endpoint_id: str, *, revoke_previous: bool = False
    ) -> WebhookEndpoint:
        """Gives an endpoint a new `secret`, which is in this answer and nowhere else.

        Deliveries are signed with the one before as well for a day, unless `revoke_previous`.
        """
        return await self._requests.rotate_secret(endpoint_id, revoke_previous=revoke_previous)

    async def test(self, endpoint_id: str, event_type: str = "batch.completed") -> WebhookDelivery:
        """Delivers a sample event, whose batch is "batch_test", once; `deliveries` shows it."""
        return await self._requests.test(endpoint_id, event_type)

    def deliveries(
        self,
        *,
        endpoint_id: str = "",
        batch_id: str = "",
        state: WebhookDeliveryState | None = None,
        page_size: int = 100,
    ) -> AsyncGenerator[WebhookDelivery, None]:
        """Yields deliveries with their attempts, newest first, fetched page by page."""
        return self._requests.deliveries(
            endpoint_id=endpoint_id, batch_id=batch_id, state=state, page_size=page_size
        )

    async def resend(self, delivery_id: str) -> WebhookDelivery:
        """Delivers once more, with the same `webhook-id`."""
        return await self._requests.resend(delivery_id)
