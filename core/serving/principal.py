"""Who is calling."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """The account, and which of its keys, that an RPC runs for."""

    account_id: str
    key_id: str


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
