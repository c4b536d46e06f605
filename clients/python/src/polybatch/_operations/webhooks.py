"""WebhookService."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import Any, cast

from polybatch._operations.calls import Caller
from polybatch._transport import methods
from polybatch.errors import NotFound
from polybatch.models import WebhookDelivery, WebhookDeliveryState, WebhookEndpoint
from polybatch.v1 import webhooks_pb2 as pb


class WebhookRequests:
    """Endpoints of the account, and what was delivered to them."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def create(
        self,
        url: str | None,
        *,
        event_types: Iterable[str],
        description: str,
        for_batch_urls: bool,
    ) -> WebhookEndpoint:
        """CreateWebhookEndpoint."""
        request = pb.CreateWebhookEndpointRequest(
            url=url or "",
            event_types=event_types,
            description=description,
            for_batch_urls=for_batch_urls,
        )
        reply = await self._caller.unary(methods.CREATE_WEBHOOK_ENDPOINT, request)
        return WebhookEndpoint.from_proto(reply.endpoint, reply.secret)

    async def get(self, endpoint_id: str) -> WebhookEndpoint:
        """GetWebhookEndpoint."""
        request = pb.GetWebhookEndpointRequest(endpoint_id=endpoint_id)
        reply = await self._caller.unary(methods.GET_WEBHOOK_ENDPOINT, request)
        return WebhookEndpoint.from_proto(reply)

    async def list(self) -> list[WebhookEndpoint]:
        """ListWebhookEndpoints."""
        request = pb.ListWebhookEndpointsRequest()
        reply = await self._caller.unary(methods.LIST_WEBHOOK_ENDPOINTS, request)
        return [WebhookEndpoint.from_proto(message) for message in reply.endpoints]

    async def update(self, endpoint_id: str, **changes: Any) -> WebhookEndpoint:
        """UpdateWebhookEndpoint, of the fields that are not None."""
        wanted = {name: value for name, value in changes.items() if value is not None}
        request = pb.UpdateWebhookEndpointRequest(
            endpoint=pb.WebhookEndpoint(id=endpoint_id, **wanted), update_mask=wanted
        )
        reply = await self._caller.unary(methods.UPDATE_WEBHOOK_ENDPOINT, request)
        return WebhookEndpoint.from_proto(reply)

    async def delete(self, endpoint_id: str) -> None:
        """DeleteWebhookEndpoint."""
        attempts = self._caller.attempts(methods.DELETE_WEBHOOK_ENDPOINT.server)
        request = pb.DeleteWebhookEndpointRequest(endpoint_id=endpoint_id)
        try:
            await self._caller.unary(methods.DELETE_WEBHOOK_ENDPOINT, request, attempts)
        except NotFound:
            # A first attempt whose reply was lost has deleted it.
            if not attempts.repeats:
                raise

    async def rotate_secret(self, endpoint_id: str, *, revoke_previous: bool) -> WebhookEndpoint:
        """RotateWebhookSecret."""
        request = pb.RotateWebhookSecretRequest(
            endpoint_id=endpoint_id, revoke_previous=revoke_previous
        )
        reply = await self._caller.unary(methods.ROTATE_WEBHOOK_SECRET, request)
        return WebhookEndpoint.from_proto(reply.endpoint, reply.secret)

    async def test(self, endpoint_id: str, event_type: str) -> WebhookDelivery:
        """TestWebhookEndpoint."""
        request = pb.TestWebhookEndpointRequest(endpoint_id=endpoint_id, event_type=event_type)
        reply = await self._caller.unary(methods.TEST_WEBHOOK_ENDPOINT, request)
        return WebhookDelivery.from_proto(reply)

    async def deliveries(
        self,
        *,
        endpoint_id: str,
        batch_id: str,
        state: WebhookDeliveryState | None,
        page_size: int,
    ) -> AsyncGenerator[WebhookDelivery, None]:
        """ListWebhookDeliveries, page after page."""
        request = pb.ListWebhookDeliveriesRequest(
            endpoint_id=endpoint_id,
            batch_id=batch_id,
            # The stubs know enum values as members, protobuf gives them as plain integers.
            state=cast("pb.WebhookDeliveryState", state.to_proto() if state else 0),
            page_size=page_size,
        )
        while True:
            page = await self._caller.unary(methods.LIST_WEBHOOK_DELIVERIES, request)
            for message in page.deliveries:
                yield WebhookDelivery.from_proto(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def resend(self, delivery_id: str) -> WebhookDelivery:
        """ResendWebhookDelivery."""
        request = pb.ResendWebhookDeliveryRequest(delivery_id=delivery_id)
        reply = await self._caller.unary(methods.RESEND_WEBHOOK_DELIVERY, request)
        return WebhookDelivery.from_proto(reply)
