"""ProviderService of polybatch.v1: which providers there are, whether they can be used, and whether
an operator has paused them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import grpc
import structlog
from polybatch.v1 import providers_pb2, providers_pb2_grpc

from core.ledger import Ledger, ProviderKey, WaitingLines
from core.pipeline import EventPublisher, HeldShards, outages
from core.pipeline.adapters import Adapter, Adapters
from core.providers import CATALOGUE, KnownProviders
from core.scopes import Scope
from core.serving import ApiError, current_principal, require_scope
from core.settings import Settings

log = structlog.get_logger()

_SHOWN_QUEUES = 20

Context = grpc.aio.ServicerContext[Any, Any]


class ProviderServicer(providers_pb2_grpc.ProviderServiceServicer):
    """Answers as the comments in providers.proto say."""

    def __init__(
        self,
        ledger: Ledger,
        publisher: EventPublisher,
        known: KnownProviders,
        adapters: Adapters,
        settings: Settings,
    ) -> None:
        self._ledger = ledger
        self._held = HeldShards(ledger, publisher)
        self._known = known
        self._settings = settings
        self._adapters = adapters

    async def ListProviders(
        self, _request: providers_pb2.ListProvidersRequest, _context: Context
    ) -> providers_pb2.ListProvidersResponse:
        with outages():
            return providers_pb2.ListProvidersResponse(
                providers=await self._shown(sorted(self._known.rules))
            )

    async def PauseProvider(
        self, request: providers_pb2.PauseProviderRequest, _context: Context
    ) -> providers_pb2.Provider:
        key_id, name = self._steered(request.name)
        with outages():
            await self._ledger.pauses.pause_provider(name, key_id)
            log.info("provider_paused", provider=name, key_id=key_id)
            return (await self._shown([name]))[0]

    async def ResumeProvider(
        self, request: providers_pb2.ResumeProviderRequest, _context: Context
    ) -> providers_pb2.Provider:
        key_id, name = self._steered(request.name)
        with outages():
            await self._ledger.pauses.resume_provider(name)
            log.info("provider_resumed", provider=name, key_id=key_id)
            # Also where it was not paused: whoever resumed it may have died before this.
            await self._held.of_provider(name)
            return (await self._shown([name]))[0]

    def _steered(self, name: str) -> tuple[str, str]:
        """The operator's key, and the provider's name."""
        caller = require_scope(Scope.OPERATOR, "pausing and resuming providers")
        if name not in self._known.rules:
            raise ApiError.not_found(
                "PROVIDER_NOT_FOUND",
                f"there is no provider {name[:64]!r}; expected one of "
                f"{', '.join(sorted(self._known.rules))}",
            )
        return caller.key_id, name

    async def _shown(self, names: Sequence[str]) -> list[providers_pb2.Provider]:
        known = self._known
        waiting: dict[str, list[WaitingLines]] = defaultdict(list)
        keys = await self._ledger.keys.of(known.credentials)
        learned = await self._ledger.quotas.limits()
        pauses = await self._ledger.pauses.providers()
        holds = {
            row.provider: row.until
            for row in await self._ledger.holds.current()
            if row.credential == known.credentials.get(row.provider, "")
        }
        for each in await self._ledger.statistics.waiting(current_principal().account_id):
            waiting[each.provider].append(each)
        adapters = await self._adapters.read()
        return [
            providers_pb2.Provider(
                name=name,
                configured=name in adapters,
                **_key(name, known, keys.get(name)),
                endpoints=sorted(known.rules[name]),
                models=CATALOGUE.ids(name),
                limits=_limits(adapters[name], self._token_limits(name, learned))
                if name in adapters
                else None,
                waiting=[
                    providers_pb2.ProviderQueue(
                        reason=each.reason, line_count=each.lines, shard_count=each.shards
                    )
                    for each in waiting[name][:_SHOWN_QUEUES]
                ],
                held_until=holds.get(name),
                paused_at=pauses[name].paused_at if name in pauses else None,
                paused_by=pauses[name].paused_by if name in pauses else "",
            )
            for name in names
        ]

    def _token_limits(self, name: str, learned: dict[tuple[str, str], int]) -> dict[str, int]:
        """Enqueued-token limits of a provider by model: the operator's is never exceeded."""
        found = {model: limit for (provider, model), limit in learned.items() if provider == name}
        for place, limit in self._settings.token_limits.items():
            provider, _, model = place.partition("/")
            if provider == name:
                found[model] = min(limit, found.get(model, limit))
        return found


def _key(name: str, known: KnownProviders, tried: ProviderKey | None) -> dict[str, Any]:
    variable = known.key_variables.get(name, "")
    if not variable:
        return {"key_state": providers_pb2.KEY_STATE_NOT_NEEDED}
    if name in known.missing_keys:
        return {"key_state": providers_pb2.KEY_STATE_MISSING, "key_variable": variable}
    if tried is None:
        return {"key_state": providers_pb2.KEY_STATE_UNSPECIFIED, "key_variable": variable}
    return {
        "key_state": providers_pb2.KEY_STATE_ACCEPTED
        if tried.accepted
        else providers_pb2.KEY_STATE_REFUSED,
        "key_variable": variable,
        "key_error": tried.code,
        "key_checked_at": tried.checked_at,
    }


def _limits(adapter: Adapter, tokens: dict[str, int]) -> providers_pb2.ProviderLimits:
    limits, calls = adapter.limits, adapter.call_limits
    return providers_pb2.ProviderLimits(
        line_by_line=calls is not None,
        max_lines=limits.max_lines,
        max_bytes=limits.max_bytes,
        max_concurrency=calls.max_concurrency if calls else 0,
        requests_per_minute=(calls.requests_per_minute or 0.0) if calls else 0.0,
        token_limits=[
            providers_pb2.TokenLimit(model=model, enqueued_tokens=limit)
            for model, limit in sorted(tokens.items())
        ],
    )
