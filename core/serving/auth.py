"""Interceptor: finds out who calls, and lets nobody unknown through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from core.serving.api_error import ApiError
from core.serving.interceptor import PLUMBING, CallInterceptor, Context, Proceed
from core.serving.principal import Principal, calling

Authenticate: TypeAlias = Callable[[str], Awaitable[Principal | None]]
"""Takes the key that came with a call; None: it is not valid."""


class AuthInterceptor(CallInterceptor):
    """Sets the principal of the RPC from its `authorization: Bearer <key>` metadata.

    Health and reflection are open.
    """

    def __init__(self, authenticate: Authenticate) -> None:
        self._authenticate = authenticate

    async def around(self, method: str, context: Context, proceed: Proceed) -> Any:
        if not method.startswith(PLUMBING):
            principal = await self._authenticate(_bearer_key(context))
            if principal is None:
                raise ApiError.unauthenticated("API_KEY_INVALID", "the API key is not valid")
            calling.set(principal)
        return await proceed()


def _bearer_key(context: Context) -> str:
    for name, value in context.invocation_metadata() or ():
        if name == "authorization" and isinstance(value, str):
            scheme, _, key = value.partition(" ")
            if scheme.lower() == "bearer" and key.strip():
                return key.strip()
            raise ApiError.unauthenticated(
                "API_KEY_INVALID", "the authorization metadata is not of the form 'Bearer <key>'"
            )
    raise ApiError.unauthenticated(
        "API_KEY_MISSING", "send your API key as metadata 'authorization: Bearer <key>'"
    )
