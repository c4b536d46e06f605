"""Webhook endpoints of accounts, and their secrets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger.database import Database
from core.ledger.limits import Limit, OverLimit
from core.ledger.tables import WebhookAttempt, WebhookDelivery, WebhookEndpoint, now

SECRET_OVERLAP = timedelta(days=1)
"""How long after it was replaced a secret is still signed with."""


@dataclass(frozen=True, slots=True)
class WebhookExists:
    """The account has an endpoint for this url."""

    endpoint_id: str


class WebhookEndpoints:
    """Endpoints of all accounts. Each method names the account that asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, endpoint: WebhookEndpoint, *, limit: int = 0
    ) -> WebhookEndpoint | WebhookExists | OverLimit:
        """Record a new endpoint. `limit`: how many an account may have; 0: any number."""
        async with self._database.write(Failpoint.WEBHOOK_CREATE) as session:
            await self._database.lock_account(session, endpoint.account_id)
            if (other := await _of_url(session, endpoint.account_id, endpoint.url)) is not None:
                return WebhookExists(other.id)
            if limit:
                query = select(sa.func.count()).where(
                    WebhookEndpoint.account_id == endpoint.account_id
                )
                used = (await session.exec(query)).one()
                if used >= limit:
                    return OverLimit(Limit.WEBHOOKS, limit, used)
            session.add(endpoint)
        return endpoint

    async def get(self, account_id: str, endpoint_id: str) -> WebhookEndpoint | None:
        """An endpoint, if it belongs to the account."""
        async with self._database.read() as session:
            found = await session.get(WebhookEndpoint, endpoint_id)
            return found if found is not None and found.account_id == account_id else None

    async def list(self, account_id: str) -> Sequence[WebhookEndpoint]:
        """All of an account, oldest first."""
        async with self._database.read() as session:
            return (
                await session.exec(
                    select(WebhookEndpoint)
                    .where(WebhookEndpoint.account_id == account_id)
                    .order_by(col(WebhookEndpoint.created_at), col(WebhookEndpoint.id))
                )
            ).all()

    async def can_sign(self, account_id: str, url: str) -> bool:
        """Whether a secret is there for what goes to a batch's own url."""
        async with self._database.read() as session:
            return (
                await _of_url(session, account_id, "") or await _of_url(session, account_id, url)
            ) is not None

    async def update(
        self, account_id: str, endpoint_id: str, **changes: Any
    ) -> WebhookEndpoint | WebhookExists | None:
        """Change columns of an endpoint; None where the account has no such one."""
        async with self._database.write(Failpoint.WEBHOOK_UPDATE) as session:
            await self._database.lock_account(session, account_id)
            endpoint = await self._lock(session, account_id, endpoint_id)
            if endpoint is None:
                return None
            if "url" in changes:
                other = await _of_url(session, account_id, changes["url"])
                if other is not None and other.id != endpoint_id:
                    return WebhookExists(other.id)
            endpoint.sqlmodel_update({**changes, "updated_at": now()})
            session.add(endpoint)
        return endpoint

    async def rotate(
        self, account_id: str, endpoint_id: str, secret: str, *, revoke_previous: bool
    ) -> WebhookEndpoint | None:
        """Give an endpoint a new secret; None where the account has no such one.

        The one before stays valid for SECRET_OVERLAP, unless `revoke_previous`.
        """
        async with self._database.write(Failpoint.WEBHOOK_ROTATE) as session:
            endpoint = await self._lock(session, account_id, endpoint_id)
            if endpoint is None:
                return None
            moment = now()
            endpoint.previous_secret = "" if revoke_previous else endpoint.secret
            endpoint.previous_secret_expires_at = (
                None if revoke_previous else moment + SECRET_OVERLAP
            )
            endpoint.secret = secret
            endpoint.updated_at = moment
            session.add(endpoint)
        return endpoint

    async def delete(self, account_id: str, endpoint_id: str) -> bool:
        """Delete an endpoint and all its deliveries; False where the account has no such one."""
        async with self._database.write(Failpoint.WEBHOOK_DELETE) as session:
            endpoint = await session.get(WebhookEndpoint, endpoint_id)
            if endpoint is None or endpoint.account_id != account_id:
                return False
            own = select(WebhookDelivery.id).where(WebhookDelivery.endpoint_id == endpoint_id)
            # Deliveries before their endpoint, as everybody locks them.
            await session.exec(
                sa.delete(WebhookAttempt).where(col(WebhookAttempt.delivery_id).in_(own))
            )
            await session.exec(
                sa.delete(WebhookDelivery).where(col(WebhookDelivery.endpoint_id) == endpoint_id)
            )
            await session.delete(endpoint)
        return True

    async def _lock(
        self, session: AsyncSession, account_id: str, endpoint_id: str
    ) -> WebhookEndpoint | None:
        found = await session.get(
            WebhookEndpoint, endpoint_id, with_for_update=not self._database.is_sqlite
        )
        return found if found is not None and found.account_id == account_id else None


async def _of_url(session: AsyncSession, account_id: str, url: str) -> WebhookEndpoint | None:
    found = await session.exec(
        select(WebhookEndpoint).where(
            WebhookEndpoint.account_id == account_id, WebhookEndpoint.url == url
        )
    )
    return found.first()
