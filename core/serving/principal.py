"""Who is calling."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from core.scopes import Scope
from core.serving.api_error import ApiError


@dataclass(frozen=True, slots=True)
class Principal:
    """The account, and which of its keys, that an RPC runs for."""

    account_id: str
    key_id: str
    scope: Scope = Scope.BATCH


# Set by the auth interceptor inside the RPC's own task, and so never seen by another RPC.
calling: ContextVar[Principal | None] = ContextVar("calling", default=None)


def current_principal() -> Principal:
    """The caller of the RPC whose handler is running.

    Raises LookupError outside of an authenticated RPC.
    """
    principal = calling.get()
    if principal is None:
        raise LookupError("not in an authenticated RPC")
    return principal


def require_scope(scope: Scope, purpose: str = "this") -> Principal:
    """The caller, if its key may do what takes this scope.

    `purpose`: what takes it, for people. Raises SCOPE_MISSING otherwise.
    """
    principal = current_principal()
    if principal.scope.includes(scope):
        return principal
    raise ApiError.permission_denied(
        "SCOPE_MISSING",
        f'{purpose} takes a key of the scope "{scope}"; this one has "{principal.scope}"',
        metadata={"needed": scope.value, "scope": principal.scope.value},
    )
