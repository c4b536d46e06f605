"""WebhookService of polybatch.v1: endpoints, their secrets, and what was delivered to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration
from polybatch.v1 import webhooks_pb2, webhooks_pb2_grpc

from core.ledger import (
    EVENT_TYPES,
    BatchState,
    DeliveryState,
    EndpointDisabled,
    Ledger,
    OverLimit,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookExists,
    new_id,
    now,
)
from core.ledger import event_type as event_type_of
from core.pipeline import outages
from core.scopes import Scope
from core.serving import ApiError, current_principal, require_scope
from core.serving.paging import cut_page, page_size, parse_page_token
from core.webhooks import new_secret, secret_hint, wrong_url
from services.gateway.batch_args import invalid_fields
from services.gateway.upload_reservation import over_limit

log = structlog.get_logger()

_WEBHOOKS = "managing webhooks"

Context = grpc.aio.ServicerContext[Any, Any]

_MAX_DESCRIPTION = 512
_BY_OWNER = "disabled by UpdateWebhookEndpoint"
_STATES = {
    DeliveryState.WAITING: webhooks_pb2.WEBHOOK_DELIVERY_STATE_WAITING,
    DeliveryState.DELIVERED: webhooks_pb2.WEBHOOK_DELIVERY_STATE_DELIVERED,
    DeliveryState.FAILED: webhooks_pb2.WEBHOOK_DELIVERY_STATE_FAILED,
}
_ASKED_STATES = {
    webhooks_pb2.WEBHOOK_DELIVERY_STATE_UNSPECIFIED: None,
    **{on_wire: state for state, on_wire in _STATES.items()},
}


class WebhookServicer(webhooks_pb2_grpc.WebhookServiceServicer):
    """Answers as the comments in webhooks.proto say."""

    def __init__(self, ledger: Ledger, *, allow_private: bool, limit: int) -> None:
        """`limit`: endpoints of one account; 0: any number."""
        self._endpoints = ledger.webhook_endpoints
        self._deliveries = ledger.webhook_deliveries
        self._allow_private = allow_private
        self._limit = limit

    async def CreateWebhookEndpoint(
        self, request: webhooks_pb2.CreateWebhookEndpointRequest, _context: Context
    ) -> webhooks_pb2.CreateWebhookEndpointResponse:
        violations = _wrong_fields(request.event_types, request.description)
        if not request.for_batch_urls:
            violations += self._wrong_url(request.url)
        elif request.url:
            violations.append(("url", "none together with for_batch_urls: batches bring their own"))
        if violations:
            raise invalid_fields(violations)
        account_id, moment = require_scope(Scope.ACCOUNT, _WEBHOOKS).account_id, now()
        with outages():
            made = await self._endpoints.create(
                WebhookEndpoint(
                    id=new_id("webhook"),
                    account_id=account_id,
                    url=request.url,
                    event_types=_unique(request.event_types),
                    description=request.description,
                    secret=new_secret(),
                    created_at=moment,
                    updated_at=moment,
                ),
                limit=self._limit,
            )
        if isinstance(made, WebhookExists):
            raise _exists(made)
        if isinstance(made, OverLimit):
            raise over_limit(made)
        log.info("webhook_created", endpoint_id=made.id, account_id=account_id)
        return webhooks_pb2.CreateWebhookEndpointResponse(endpoint=_shown(made), secret=made.secret)

    async def GetWebhookEndpoint(
        self, request: webhooks_pb2.GetWebhookEndpointRequest, _context: Context
    ) -> webhooks_pb2.WebhookEndpoint:
        with outages():
            found = await self._endpoints.get(current_principal().account_id, request.endpoint_id)
        return _shown(_found(found, request.endpoint_id))

    async def ListWebhookEndpoints(
        self, _request: webhooks_pb2.ListWebhookEndpointsRequest, _context: Context
    ) -> webhooks_pb2.ListWebhookEndpointsResponse:
        with outages():
            found = await self._endpoints.list(current_principal().account_id)
        return webhooks_pb2.ListWebhookEndpointsResponse(endpoints=map(_shown, found))

    async def UpdateWebhookEndpoint(
        self, request: webhooks_pb2.UpdateWebhookEndpointRequest, _context: Context
    ) -> webhooks_pb2.WebhookEndpoint:
        account_id, wanted = require_scope(Scope.ACCOUNT, _WEBHOOKS).account_id, request.endpoint
        with outages():
            before = _found(await self._endpoints.get(account_id, wanted.id), wanted.id)
            changes = self._changes(before, wanted, set(request.update_mask))
            changed = await self._endpoints.update(account_id, wanted.id, **changes)
        if isinstance(changed, WebhookExists):
            raise _exists(changed)
        log.info("webhook_changed", endpoint_id=wanted.id, fields=sorted(request.update_mask))
        return _shown(_found(changed, wanted.id))

    async def DeleteWebhookEndpoint(
        self, request: webhooks_pb2.DeleteWebhookEndpointRequest, _context: Context
    ) -> webhooks_pb2.DeleteWebhookEndpointResponse:
        account_id = require_scope(Scope.ACCOUNT, _WEBHOOKS).account_id
        with outages():
            if not await self._endpoints.delete(account_id, request.endpoint_id):
                raise _not_found(request.endpoint_id)
        log.info("webhook_deleted", endpoint_id=request.endpoint_id, account_id=account_id)
        return webhooks_pb2.DeleteWebhookEndpointResponse()

    async def RotateWebhookSecret(
        self, request: webhooks_pb2.RotateWebhookSecretRequest, _context: Context
    ) -> webhooks_pb2.RotateWebhookSecretResponse:
        with outages():
            rotated = await self._endpoints.rotate(
                require_scope(Scope.ACCOUNT, _WEBHOOKS).account_id,
                request.endpoint_id,
                new_secret(),
                revoke_previous=request.revoke_previous,
            )
        endpoint = _found(rotated, request.endpoint_id)
        log.info("webhook_secret_rotated", endpoint_id=endpoint.id, account_id=endpoint.account_id)
        return webhooks_pb2.RotateWebhookSecretResponse(
            endpoint=_shown(endpoint), secret=endpoint.secret
        )

    async def TestWebhookEndpoint(
        self, request: webhooks_pb2.TestWebhookEndpointRequest, _context: Context
    ) -> webhooks_pb2.WebhookDelivery:
        event_type = request.event_type or event_type_of(BatchState.COMPLETED)
        if violations := _wrong_fields([event_type], ""):
            raise invalid_fields([("event_type", expected) for _, expected in violations])
        account_id = require_scope(Scope.ACCOUNT, _WEBHOOKS).account_id
        with outages():
            endpoint = _found(
                await self._endpoints.get(account_id, request.endpoint_id), request.endpoint_id
            )
            if endpoint.for_batch_urls:
                raise ApiError.failed_precondition(
                    "WEBHOOK_WITHOUT_URL",
                    "this endpoint signs for the urls of batches: submit a batch with one",
                )
            made = await self._deliveries.add_test(account_id, endpoint.id, event_type)
            if isinstance(made, EndpointDisabled):
                raise _disabled(made)
            if made is None:
                raise _not_found(request.endpoint_id)
        return _shown_delivery(made, endpoint.url, None)

    async def ListWebhookDeliveries(
        self, request: webhooks_pb2.ListWebhookDeliveriesRequest, _context: Context
    ) -> webhooks_pb2.ListWebhookDeliveriesResponse:
        if request.state not in _ASKED_STATES:
            raise invalid_fields([("state", "a state of polybatch.v1.WebhookDeliveryState")])
        account_id, size = current_principal().account_id, page_size(request.page_size)
        after = parse_page_token(request.page_token)
        with outages():
            found = await self._deliveries.page(
                account_id,
                size + 1,
                after,
                endpoint_id=request.endpoint_id,
                batch_id=request.batch_id,
                state=_ASKED_STATES[request.state],
            )
            page, token = cut_page(found, size)
            return webhooks_pb2.ListWebhookDeliveriesResponse(
                deliveries=await self._shown_deliveries(account_id, page), next_page_token=token
            )

    async def ResendWebhookDelivery(
        self, request: webhooks_pb2.ResendWebhookDeliveryRequest, _context: Context
    ) -> webhooks_pb2.WebhookDelivery:
        account_id = require_scope(Scope.ACCOUNT, _WEBHOOKS).account_id
        with outages():
            resent = await self._deliveries.resend(account_id, request.delivery_id)
            if resent is None:
                raise ApiError.not_found(
                    "DELIVERY_NOT_FOUND", f"there is no delivery {request.delivery_id[:64]!r}"
                )
            if isinstance(resent, EndpointDisabled):
                raise _disabled(resent)
            [shown] = await self._shown_deliveries(account_id, [resent])
        return shown

    async def _shown_deliveries(
        self, account_id: str, deliveries: Sequence[WebhookDelivery]
    ) -> list[webhooks_pb2.WebhookDelivery]:
        attempts = await self._deliveries.attempts([each.id for each in deliveries])
        urls = {each.id: each.url for each in await self._endpoints.list(account_id)}
        return [
            _shown_delivery(each, each.url or urls.get(each.endpoint_id, ""), attempts.get(each.id))
            for each in deliveries
        ]

    def _wrong_url(self, url: str) -> list[tuple[str, str]]:
        expected = wrong_url(url, allow_private=self._allow_private)
        return [("url", expected)] if expected else []

    def _changes(
        self, before: WebhookEndpoint, wanted: webhooks_pb2.WebhookEndpoint, mask: set[str]
    ) -> dict[str, Any]:
        """Columns to change. Raises INVALID_FIELD."""
        known = {"url", "event_types", "description", "disabled"}
        violations = []
        if not mask or mask - known:
            violations.append(("update_mask", f"one or more of {', '.join(sorted(known))}"))
        if "url" in mask and before.for_batch_urls:
            violations.append(("endpoint.url", "none: to this endpoint batches bring their own"))
        elif "url" in mask:
            violations += [(f"endpoint.{field}", x) for field, x in self._wrong_url(wanted.url)]
        wrong = _wrong_fields(
            wanted.event_types if "event_types" in mask else (),
            wanted.description if "description" in mask else "",
        )
        violations += [(f"endpoint.{field}", expected) for field, expected in wrong]
        if violations:
            raise invalid_fields(violations)
        changes: dict[str, Any] = {
            name: getattr(wanted, name) for name in mask & {"url", "description"}
        }
        if "event_types" in mask:
            changes["event_types"] = _unique(wanted.event_types)
        if "disabled" in mask and wanted.disabled != (before.disabled_at is not None):
            changes["disabled_at"] = now() if wanted.disabled else None
            changes["disabled_reason"] = _BY_OWNER if wanted.disabled else ""
        return changes


def _wrong_fields(event_types: Iterable[str], description: str) -> list[tuple[str, str]]:
    violations = []
    if set(event_types) - set(EVENT_TYPES):
        violations.append(("event_types", f"any of {', '.join(EVENT_TYPES)}; none for all of them"))
    if len(description) > _MAX_DESCRIPTION:
        violations.append(("description", f"at most {_MAX_DESCRIPTION} characters"))
    return violations


def _unique(event_types: Iterable[str]) -> list[str]:
    return sorted(set(event_types))


def _found(endpoint: WebhookEndpoint | None, endpoint_id: str) -> WebhookEndpoint:
    if endpoint is None:
        raise _not_found(endpoint_id)
    return endpoint


def _not_found(endpoint_id: str) -> ApiError:
    return ApiError.not_found(
        "WEBHOOK_NOT_FOUND", f"there is no webhook endpoint {endpoint_id[:64]!r}"
    )


def _disabled(endpoint: EndpointDisabled) -> ApiError:
    return ApiError.failed_precondition(
        "WEBHOOK_DISABLED",
        f"the endpoint {endpoint.endpoint_id} is disabled: enable it first",
        metadata={"endpoint_id": endpoint.endpoint_id},
    )


def _exists(other: WebhookExists) -> ApiError:
    return ApiError.already_exists(
        "WEBHOOK_EXISTS",
        f"{other.endpoint_id} is there for it already: use that one, and rotate its secret if "
        "that is lost",
        metadata={"endpoint_id": other.endpoint_id},
    )


def _shown(endpoint: WebhookEndpoint) -> webhooks_pb2.WebhookEndpoint:
    until = endpoint.previous_secret_expires_at
    return webhooks_pb2.WebhookEndpoint(
        id=endpoint.id,
        url=endpoint.url,
        event_types=endpoint.event_types,
        description=endpoint.description,
        disabled=endpoint.disabled_at is not None,
        disabled_reason=endpoint.disabled_reason,
        secret_hint=secret_hint(endpoint.secret),
        previous_secret_expires_at=until if until and until > now() else None,
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
    )


def _shown_delivery(
    delivery: WebhookDelivery, url: str, attempts: Sequence[WebhookAttempt] | None
) -> webhooks_pb2.WebhookDelivery:
    waiting = delivery.state == DeliveryState.WAITING
    return webhooks_pb2.WebhookDelivery(
        id=delivery.id,
        endpoint_id=delivery.endpoint_id,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        batch_id=delivery.batch_id,
        url=url,
        state=_STATES[DeliveryState(delivery.state)],
        attempt_count=delivery.attempts,
        attempts=map(_shown_attempt, attempts or ()),
        created_at=delivery.created_at,
        next_attempt_at=delivery.due_at if waiting else None,
        ended_at=delivery.ended_at,
    )


def _shown_attempt(attempt: WebhookAttempt) -> webhooks_pb2.WebhookAttempt:
    duration = None
    if attempt.seconds is not None:
        duration = Duration()
        duration.FromTimedelta(timedelta(seconds=attempt.seconds))
    return webhooks_pb2.WebhookAttempt(
        number=attempt.number,
        started_at=attempt.started_at,
        duration=duration,
        status=attempt.status,
        error=attempt.error,
    )
