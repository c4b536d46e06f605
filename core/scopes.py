"""What a caller's key may do: known to the ledger, which keeps it, and to whoever serves calls."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """What a key may do; each includes the ones before."""

    BATCH = "batch"
    """Make and read batches."""
    ACCOUNT = "account"
    """Manage the account's keys, see its usage, make batches for its other keys."""
    OPERATOR = "operator"
    """Everything, of all accounts."""

    def includes(self, other: Scope) -> bool:
        """Whether a key of this scope may do all that one of the other may."""
        order = list(Scope)
        return order.index(self) >= order.index(other)
