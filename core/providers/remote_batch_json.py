"""A RemoteBatch that has ended, as JSON that can be kept: where its results are."""

from __future__ import annotations

from typing import Any

import msgspec

from core.providers.contract import RemoteBatch
from core.struct_types import prepared

prepared(RemoteBatch)


def dump_result(batch: RemoteBatch) -> dict[str, Any]:
    """What of a batch is needed to fetch its results without asking how it stands again."""
    kept: dict[str, Any] = msgspec.to_builtins(batch)
    return kept


def load_result(kept: dict[str, Any] | None) -> RemoteBatch | None:
    """The batch that was kept; None where none was, or where it is of another release."""
    try:
        return msgspec.convert(kept, RemoteBatch) if kept else None
    except msgspec.ValidationError:
        return None
