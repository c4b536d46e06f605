"""How many connections and calls one process takes at a time, and the interceptor for it.

What one caller may do is another matter (core.serving.rate_limit); these bounds keep the
process's memory within its machine whoever calls, and however many they are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from core.serving.api_error import ApiError
from core.serving.interceptor import PLUMBING, CallInterceptor, Context, Proceed
from core.serving.principal import calling
from core.settings import Settings

RETRY_AFTER = 5.0
"""Seconds after which a place may be free."""


@dataclass(frozen=True, slots=True)
class ConcurrencyLimits:
    """What one process takes at a time. The settings max_* of the same names say more."""

    connections: int = 10_000
    streams_per_connection: int = 5_000
    uploads: int = 500
    downloads: int = 500
    watches: int = 20_000
    account_watches: int = 10_000
    calls: int = 5_000

    @classmethod
    def of(cls, settings: Settings) -> ConcurrencyLimits:
        return cls(
            connections=settings.max_connections,
            streams_per_connection=settings.max_streams_per_connection,
            uploads=settings.max_uploads,
            downloads=settings.max_downloads,
            watches=settings.max_watches,
            account_watches=settings.max_account_watches,
            calls=settings.max_calls,
        )

    @property
    def options(self) -> tuple[tuple[str, int], ...]:
        """gRPC's own part: further connections are closed, further streams wait in the client."""
        return (
            ("grpc.max_allowed_incoming_connections", self.connections),
            ("grpc.max_concurrent_streams", self.streams_per_connection),
        )


_KINDS = {
    "UploadFile": "uploads",
    "SubmitBatch": "uploads",
    "ConvertLines": "uploads",
    "DownloadFile": "downloads",
    "DownloadResults": "downloads",
    "WatchBatch": "watches",
    "WatchBatches": "watches",
}


class ConcurrencyInterceptor(CallInterceptor):
    """Refuses what is over the limits with RESOURCE_EXHAUSTED; health and reflection aside.

    To stand behind the authentication, which says whose watches they are.
    """

    def __init__(self, limits: ConcurrencyLimits) -> None:
        self._limits = limits
        self._taken: Counter[str] = Counter()
        self._watches: Counter[str] = Counter()

    async def around(self, method: str, context: Context, proceed: Proceed) -> Any:
        if method.startswith(PLUMBING):
            return await proceed()
        kind = _KINDS.get(method.rpartition("/")[2], "calls")
        limit: int = getattr(self._limits, kind)
        if self._taken[kind] >= limit:
            raise _full(kind, f"this process has its limit of {limit} {kind} open", kind)
        principal = calling.get()
        account = principal.account_id if principal and kind == "watches" else ""
        most = self._limits.account_watches
        if account and self._watches[account] >= most:
            why = f"the account has its limit of {most} watches open"
            raise _full(kind, why, "account_watches")
        self._taken[kind] += 1
        self._watches[account] += 1
        try:
            return await proceed()
        finally:
            self._taken[kind] -= 1
            self._watches[account] -= 1
            if not self._watches[account]:
                del self._watches[account]


def _full(kind: str, why: str, setting: str) -> ApiError:
    return ApiError.resource_exhausted(
        f"TOO_MANY_{kind.upper()}",
        f"{why}: end some of them, or repeat later "
        f"(POLYBATCH_MAX_{setting.upper()} of the service sets it)",
        retry_after=RETRY_AFTER,
    )
