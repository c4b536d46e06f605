"""Webhook endpoints, and what was delivered to them.

In: forms. Out: the page of endpoints; where a secret is made, that secret as a file, once: it
stands on no page. What can go wrong: an address that may not be called, a limit, an endpoint that
is gone.
"""

from __future__ import annotations

from polybatch.v1 import webhooks_pb2
from starlette.responses import Response

from services.web.client_parts import methods
from services.web.dashboard.pages import HEADERS, Visit, redirect
from services.web.errors import HttpError

EVENTS = ("batch.completed", "batch.failed", "batch.expired", "batch.cancelled")
_DELIVERIES = 50


async def show(visit: Visit) -> Response:
    """GET /webhooks."""
    deliveries = await visit.engine.call(
        methods.LIST_WEBHOOK_DELIVERIES,
        webhooks_pb2.ListWebhookDeliveriesRequest(page_size=_DELIVERIES),
    )
    return visit.page(
        "webhooks.html",
        endpoints=await _endpoints(visit),
        deliveries=list(deliveries.deliveries),
        events=EVENTS,
    )


async def create(visit: Visit) -> Response:
    """POST /webhooks. The secret is the answer, as a file."""
    fields = await visit.form()
    request = webhooks_pb2.CreateWebhookEndpointRequest(
        url=fields.get("url", "").strip(),
        description=fields.get("description", "").strip(),
        event_types=[each for each in EVENTS if f"event:{each}" in fields],
        for_batch_urls="for_batch_urls" in fields,
    )
    made = await visit.engine.call(methods.CREATE_WEBHOOK_ENDPOINT, request)
    return _secret(made)


async def confirm_rotate(visit: Visit) -> Response:
    """GET /webhooks/{endpoint_id}/rotate."""
    return visit.page("rotate.html", endpoint=await _endpoint(visit))


async def rotate(visit: Visit) -> Response:
    """POST /webhooks/{endpoint_id}/rotate. The new secret is the answer, as a file."""
    fields = await visit.form()
    request = webhooks_pb2.RotateWebhookSecretRequest(
        endpoint_id=_id(visit), revoke_previous="revoke_previous" in fields
    )
    return _secret(await visit.engine.call(methods.ROTATE_WEBHOOK_SECRET, request))


async def confirm_delete(visit: Visit) -> Response:
    """GET /webhooks/{endpoint_id}/delete."""
    return visit.page("delete_webhook.html", endpoint=await _endpoint(visit))


async def delete(visit: Visit) -> Response:
    """POST /webhooks/{endpoint_id}/delete."""
    await visit.form()
    request = webhooks_pb2.DeleteWebhookEndpointRequest(endpoint_id=_id(visit))
    await visit.engine.call(methods.DELETE_WEBHOOK_ENDPOINT, request)
    return redirect("/webhooks")


async def enable(visit: Visit) -> Response:
    """POST /webhooks/{endpoint_id}/enable: after it was disabled for what it answered."""
    await visit.form()
    request = webhooks_pb2.UpdateWebhookEndpointRequest(
        endpoint=webhooks_pb2.WebhookEndpoint(id=_id(visit), disabled=False),
        update_mask=["disabled"],
    )
    await visit.engine.call(methods.UPDATE_WEBHOOK_ENDPOINT, request)
    return redirect("/webhooks")


async def test(visit: Visit) -> Response:
    """POST /webhooks/{endpoint_id}/test: deliver a sample event."""
    await visit.form()
    request = webhooks_pb2.TestWebhookEndpointRequest(endpoint_id=_id(visit))
    await visit.engine.call(methods.TEST_WEBHOOK_ENDPOINT, request)
    return redirect("/webhooks")


async def resend(visit: Visit) -> Response:
    """POST /webhooks/deliveries/{delivery_id}/resend."""
    await visit.form()
    request = webhooks_pb2.ResendWebhookDeliveryRequest(
        delivery_id=visit.request.path_params["delivery_id"]
    )
    await visit.engine.call(methods.RESEND_WEBHOOK_DELIVERY, request)
    return redirect("/webhooks")


def _secret(
    made: webhooks_pb2.CreateWebhookEndpointResponse | webhooks_pb2.RotateWebhookSecretResponse,
) -> Response:
    name = f"polybatch-{made.endpoint.id}-secret.txt"
    return Response(
        f"{made.secret}\n",
        media_type="text/plain",
        headers={**HEADERS, "content-disposition": f'attachment; filename="{name}"'},
    )


async def _endpoints(visit: Visit) -> list[webhooks_pb2.WebhookEndpoint]:
    found = await visit.engine.call(
        methods.LIST_WEBHOOK_ENDPOINTS, webhooks_pb2.ListWebhookEndpointsRequest()
    )
    return list(found.endpoints)


async def _endpoint(visit: Visit) -> webhooks_pb2.WebhookEndpoint:
    for each in await _endpoints(visit):
        if each.id == _id(visit):
            return each
    raise HttpError.not_found("webhook endpoint", _id(visit))


def _id(visit: Visit) -> str:
    return str(visit.request.path_params["endpoint_id"])
