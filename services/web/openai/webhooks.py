"""Webhook endpoints of OpenAI's API.

In: a url, event types, a name. Out: WebhookEndpoint objects; a secret only where it is made. What
can go wrong: bad fields (400), a key without the scope (403), no such endpoint (404), a url that
has one already (409), a test that was not delivered (400).
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

import msgspec
from polybatch.v1 import webhooks_pb2
from starlette.requests import Request
from starlette.responses import Response

from services.web.body import body_of, read_json
from services.web.client_parts import methods
from services.web.errors import HttpError
from services.web.openai.objects import page
from services.web.operations import Text, WholeNumber, described
from services.web.responses import json_response
from services.web.upstream import Engine

EVENT_TYPES = ("batch.completed", "batch.failed", "batch.expired", "batch.cancelled")
LIMIT = WholeNumber("limit", 20, 100)
AFTER = Text("after")

EventType = Annotated[str, described(enum=list(EVENT_TYPES))]

_ID = re.compile(r"[0-9a-z_]{1,64}", re.ASCII)
_MADE_HERE = re.compile(r"webhook_[0-9a-z]{20}", re.ASCII)
_MAX_NAME = 512
_WAITING = webhooks_pb2.WEBHOOK_DELIVERY_STATE_WAITING
# The collectors look for due deliveries each second.
_LOOK_SECONDS = 0.25
_BEFORE_SECONDS = 5.0


class CreateEndpoint(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a create; `for_batch_urls` is our own."""

    name: str
    event_types: list[EventType]
    url: str = ""
    for_batch_urls: bool = False


class UpdateEndpoint(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an update; `disabled` is our own."""

    name: str | None = None
    event_types: list[EventType] | None = None
    url: str | None = None
    disabled: bool | None = None


class RotateSecret(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a rotation."""

    keep_old_secret_active_for_24_hours: bool = False


class TestEndpoint(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a test."""

    event_type: EventType


async def create(request: Request, engine: Engine) -> Response:
    """POST /v1/webhook_endpoints."""
    asked = await read_json(request, CreateEndpoint)
    _check(asked.name, asked.event_types)
    if not asked.url and not asked.for_batch_urls:
        raise HttpError(
            400, "Missing required parameter: 'url'.", "missing_required_parameter", "url"
        )
    made = await engine.call(
        methods.CREATE_WEBHOOK_ENDPOINT,
        webhooks_pb2.CreateWebhookEndpointRequest(
            url=asked.url,
            event_types=asked.event_types,
            description=asked.name,
            for_batch_urls=asked.for_batch_urls,
        ),
    )
    return json_response(endpoint_object(made.endpoint, made.secret))


async def list_all(request: Request, engine: Engine) -> Response:
    """GET /v1/webhook_endpoints: oldest first."""
    size, after = LIMIT.read(request), AFTER.read(request)
    answer = await engine.call(
        methods.LIST_WEBHOOK_ENDPOINTS, webhooks_pb2.ListWebhookEndpointsRequest()
    )
    found = list(answer.endpoints)
    if after is not None:
        place = next((n for n, each in enumerate(found) if each.id == after), None)
        # Of one that was deleted since: what was made later is behind it, and ids rise with time.
        if place is None and not _MADE_HERE.fullmatch(after):
            raise _not_found(after)
        later = [each for each in found if each.id > after]
        found = later if place is None else found[place + 1 :]
    shown = [endpoint_object(each) for each in found[:size]]
    return json_response(page(shown, more=len(found) > size))


async def retrieve(request: Request, engine: Engine) -> Response:
    """GET /v1/webhook_endpoints/{endpoint_id}."""
    message = webhooks_pb2.GetWebhookEndpointRequest(endpoint_id=_id(request))
    return json_response(endpoint_object(await engine.call(methods.GET_WEBHOOK_ENDPOINT, message)))


async def update(request: Request, engine: Engine) -> Response:
    """POST /v1/webhook_endpoints/{endpoint_id}."""
    endpoint_id = _id(request)
    asked = await read_json(request, UpdateEndpoint)
    _check(asked.name or "", asked.event_types or ())
    changed: dict[str, Any] = {
        name: value
        for name, value in (
            ("description", asked.name),
            ("event_types", asked.event_types),
            ("url", asked.url),
            ("disabled", asked.disabled),
        )
        if value is not None
    }
    if not changed:
        return await retrieve(request, engine)
    endpoint = await engine.call(
        methods.UPDATE_WEBHOOK_ENDPOINT,
        webhooks_pb2.UpdateWebhookEndpointRequest(
            endpoint=webhooks_pb2.WebhookEndpoint(id=endpoint_id, **changed),
            update_mask=list(changed),
        ),
    )
    return json_response(endpoint_object(endpoint))


async def delete(request: Request, engine: Engine) -> Response:
    """DELETE /v1/webhook_endpoints/{endpoint_id}."""
    endpoint_id = _id(request)
    await engine.call(
        methods.DELETE_WEBHOOK_ENDPOINT,
        webhooks_pb2.DeleteWebhookEndpointRequest(endpoint_id=endpoint_id),
    )
    return json_response({"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True})


async def rotate_secret(request: Request, engine: Engine) -> Response:
    """POST /v1/webhook_endpoints/{endpoint_id}/rotate_secret."""
    endpoint_id = _id(request)
    asked = await read_json(request, RotateSecret)
    made = await engine.call(
        methods.ROTATE_WEBHOOK_SECRET,
        webhooks_pb2.RotateWebhookSecretRequest(
            endpoint_id=endpoint_id,
            revoke_previous=not asked.keep_old_secret_active_for_24_hours,
        ),
    )
    return json_response(endpoint_object(made.endpoint, made.secret))


async def test(request: Request, engine: Engine) -> Response:
    """POST /v1/webhook_endpoints/{endpoint_id}/test: answers when the receiver has."""
    endpoint_id = _id(request)
    asked = await read_json(request, TestEndpoint)
    _check("", [asked.event_type])
    delivery = await engine.call(
        methods.TEST_WEBHOOK_ENDPOINT,
        webhooks_pb2.TestWebhookEndpointRequest(
            endpoint_id=endpoint_id, event_type=asked.event_type
        ),
    )
    patience = body_of(request).settings.webhook_timeout + _BEFORE_SECONDS
    try:
        async with asyncio.timeout(patience):
            ended = await _ended(engine, endpoint_id, delivery.id)
    except TimeoutError:
        raise HttpError(
            504, f"The test was not delivered within {patience:.0f} s.", retry=False
        ) from None
    last = ended.attempts[0] if ended.attempts else webhooks_pb2.WebhookAttempt()
    if not last.status:
        raise HttpError(
            400,
            f"The test was not delivered: {last.error or 'the endpoint is disabled'}.",
            "webhook_delivery_failed",
        )
    return json_response(
        {
            "object": "webhook_endpoint.test",
            "webhook_endpoint_id": endpoint_id,
            "event_type": asked.event_type,
            "status_code": last.status,
            "success": True,
        }
    )


async def event_types(_request: Request, engine: Engine) -> Response:
    """GET /v1/webhook_event_types."""
    # Nobody is told anything without a valid key.
    await engine.call(methods.LIST_WEBHOOK_ENDPOINTS, webhooks_pb2.ListWebhookEndpointsRequest())
    return json_response({"object": "list", "data": list(EVENT_TYPES)})


def endpoint_object(endpoint: webhooks_pb2.WebhookEndpoint, secret: str = "") -> dict[str, Any]:
    """A WebhookEndpoint; `polybatch` holds what OpenAI has no field for."""
    old = endpoint.HasField("previous_secret_expires_at")
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "name": endpoint.description,
        "url": endpoint.url,
        "event_types": list(endpoint.event_types) or list(EVENT_TYPES),
        "created_at": endpoint.created_at.seconds,
        "updated_at": endpoint.updated_at.seconds,
        "signing_secret_hint": endpoint.secret_hint,
        **({"signing_secret": secret} if secret else {}),
        "polybatch": {
            "for_batch_urls": not endpoint.url,
            "disabled": endpoint.disabled,
            "disabled_reason": endpoint.disabled_reason or None,
            "previous_secret_expires_at": (
                endpoint.previous_secret_expires_at.seconds if old else None
            ),
        },
    }


async def _ended(
    engine: Engine, endpoint_id: str, delivery_id: str
) -> webhooks_pb2.WebhookDelivery:
    request = webhooks_pb2.ListWebhookDeliveriesRequest(endpoint_id=endpoint_id, page_size=100)
    while True:
        answer = await engine.call(methods.LIST_WEBHOOK_DELIVERIES, request)
        found = next((each for each in answer.deliveries if each.id == delivery_id), None)
        if found is None:
            # With its endpoint, or because a hundred others came after it.
            raise HttpError(409, "The delivery of the test is not listed any more.", retry=False)
        if found.state != _WAITING:
            delivery: webhooks_pb2.WebhookDelivery = found
            return delivery
        await asyncio.sleep(_LOOK_SECONDS)


def _id(request: Request) -> str:
    shown: str = request.path_params["endpoint_id"]
    if not _ID.fullmatch(shown):
        raise _not_found(shown)
    return shown


def _not_found(shown: str) -> HttpError:
    return HttpError.not_found("webhook endpoint", shown, "webhook_not_found")


def _check(name: str, types: Any) -> None:
    """Raises HttpError (400)."""
    if len(name) > _MAX_NAME:
        raise HttpError(400, f"'name' may have {_MAX_NAME} characters.", "invalid_value", "name")
    wrong = [each for each in types if each not in EVENT_TYPES]
    if wrong:
        raise HttpError(
            400,
            f"{wrong[0][:50]!r} is no event type here: expected {', '.join(EVENT_TYPES)}.",
            "invalid_value",
            "event_types",
        )
