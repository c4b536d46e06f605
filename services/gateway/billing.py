"""Which key a batch is billed to, and whether that one may use what the file's lines ask for."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

from core.ledger import Accounts, ApiKey, File, Scope
from core.pipeline.adapters import Adapters
from core.serving import ApiError, current_principal, require_scope

_NAMED = 5
"""Of those that are refused, and of those that are allowed, so many are named."""
_SHOWN = 64
"""Characters of a name."""


class BilledKeys:
    """Keys as they are when a batch is made: an upload may have begun long before."""

    def __init__(self, accounts: Accounts, adapters: Adapters) -> None:
        self._accounts = accounts
        self._adapters = adapters

    async def find(self, key_id: str) -> ApiKey:
        """The key of this id, the caller's own if it is empty.

        Raises SCOPE_MISSING where the caller may name no other, KEY_NOT_FOUND where it is no
        valid key of the account.
        """
        caller = current_principal()
        if key_id not in ("", caller.key_id):
            require_scope(Scope.ACCOUNT, "a batch for another key")
        key = await self._accounts.get_key(key_id or caller.key_id, caller.account_id)
        if key is None or key.revoked_at is not None:
            raise key_not_found(key_id or caller.key_id)
        return key

    async def refuse_disallowed(self, key: ApiKey, file: File, *, lenient: bool) -> None:
        """Raise PROVIDER_NOT_ALLOWED or MODEL_NOT_ALLOWED for lines that the batch would send."""
        asked = [
            (str(group["provider"]), str(group["model"]))
            for group in file.groups
            if group["lines"] or (lenient and group.get("lenient_lines"))
        ]
        if key.allowed_providers:
            providers = {name.lower() for name in key.allowed_providers}
            refused = sorted({name for name, _ in asked if name.lower() not in providers})
            if refused:
                raise _not_allowed("provider", refused, key.allowed_providers, key, file)
        if key.allowed_models:
            allows = re.compile(
                "|".join(fnmatch.translate(each.lower()) for each in key.allowed_models)
            )
            refused = [
                model
                for provider, model in asked
                if not any(
                    allows.match(name.lower()) for name in await self._names(provider, model)
                )
            ]
            if refused:
                raise _not_allowed("model", sorted(refused), key.allowed_models, key, file)

    async def _names(self, provider: str, model: str) -> Sequence[str]:
        """All that a model is called."""
        remote = await self._adapters.remote_model(provider, model)
        return model, remote, f"{provider}/{remote}"


def key_not_found(key_id: str) -> ApiError:
    """There is no such key where the caller may look."""
    return ApiError.not_found("KEY_NOT_FOUND", f"there is no key {key_id[:64]!r}")


def _not_allowed(
    kind: str, refused: Sequence[str], allowed: Sequence[str], key: ApiKey, file: File
) -> ApiError:
    named = f" {key.name!r}" if key.name else ""
    return ApiError.permission_denied(
        f"{kind.upper()}_NOT_ALLOWED",
        f"the key{named} may not use the {kind}{'s' if len(refused) > 1 else ''} "
        f"{_list(refused)}, which lines of the file ask for: it may use {_list(allowed)}",
        metadata={
            f"{kind}s": ",".join(refused),
            "allowed": ",".join(allowed),
            "key_id": key.id,
            "file_id": file.id,
        },
    )


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(name[:_SHOWN] for name in names[:_NAMED]) + more
