"""What requests say of keys and accounts, checked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from google.protobuf.message import Message
from polybatch.v1 import accounts_pb2

from core.ledger import Account, Accounts, BudgetPeriod, Funding, Scope
from core.pipeline.messages import nanos_of
from core.serving import ApiError, current_principal, require_scope
from services.gateway.batch_args import invalid_fields, is_retention, span_of

ALL_ACCOUNTS = "*"
_ID_PREFIX = "acct_"
_MOST_NANOS = 10**18
"""A billion dollars, in either direction: the ledger's integers hold nine of them."""
_MAX_NAME = 128
_MAX_ALLOWED = 100
_MAX_PATTERN = 128

_SCOPES = {
    accounts_pb2.KEY_SCOPE_UNSPECIFIED: Scope.BATCH,
    accounts_pb2.KEY_SCOPE_BATCH: Scope.BATCH,
    accounts_pb2.KEY_SCOPE_ACCOUNT: Scope.ACCOUNT,
    accounts_pb2.KEY_SCOPE_OPERATOR: Scope.OPERATOR,
}
_PERIODS = {
    accounts_pb2.BUDGET_PERIOD_UNSPECIFIED: BudgetPeriod.TOTAL,
    accounts_pb2.BUDGET_PERIOD_TOTAL: BudgetPeriod.TOTAL,
    accounts_pb2.BUDGET_PERIOD_MONTH: BudgetPeriod.MONTH,
}
_FUNDINGS = {
    accounts_pb2.FUNDING_METERED: Funding.METERED,
    accounts_pb2.FUNDING_PREPAID: Funding.PREPAID,
}


async def named_account(accounts: Accounts, named: str) -> Account:
    """The account that a request names by id or name; the caller's own if it names none.

    Raises SCOPE_MISSING for another one than the caller's, whether or not it exists, unless
    the caller is an operator; ACCOUNT_NOT_FOUND then, if it does not.
    """
    own = await accounts.get(current_principal().account_id)
    assert own is not None, "every key has an account"
    if named in ("", own.id, own.name):
        return own
    require_scope(Scope.OPERATOR, "another account")
    return await found_account(accounts, named)


async def found_account(accounts: Accounts, named: str) -> Account:
    """The account of an id or name. Raises ACCOUNT_NOT_FOUND."""
    found = await accounts.find(named)
    if found is None:
        raise account_not_found(named)
    return found


def account_not_found(named: str) -> ApiError:
    return ApiError.not_found("ACCOUNT_NOT_FOUND", f"there is no account {named[:64]!r}")


class Checked:
    """Collects what is wrong with the fields of a request; `done` raises it, all at once."""

    def __init__(self) -> None:
        self.violations: list[tuple[str, str]] = []

    def done(self) -> None:
        """Raise INVALID_FIELD if anything was wrong."""
        if self.violations:
            raise invalid_fields(self.violations)

    def wrong(self, field: str, expected: str) -> None:
        """Note what was expected of a field."""
        self.violations.append((field, expected))

    def key_name(self, field: str, name: str) -> str:
        """What a key is called."""
        if len(name) > _MAX_NAME or not name.isprintable():
            self.wrong(field, f"at most {_MAX_NAME} printable characters")
        return name

    def account_name(self, field: str, name: str) -> str:
        """A name for an account that cannot be taken for anything else."""
        if not 1 <= len(name) <= _MAX_NAME or not name.isprintable() or name != name.strip():
            self.wrong(field, f"1 to {_MAX_NAME} printable characters, without spaces around")
        elif name == ALL_ACCOUNTS or name.startswith(_ID_PREFIX):
            self.wrong(field, f'neither "{ALL_ACCOUNTS}" nor beginning with "{_ID_PREFIX}"')
        return name

    def scope(self, field: str, scope: Any) -> Scope:
        """A scope; "batch" where none is given."""
        if scope not in _SCOPES:
            self.wrong(field, "a scope of polybatch.v1.KeyScope")
        return _SCOPES.get(scope, Scope.BATCH)

    def funding(self, funding: Any, *, otherwise: Funding | None = None) -> Funding:
        """How an account pays; `otherwise` where it is not given."""
        if funding == accounts_pb2.FUNDING_UNSPECIFIED and otherwise is not None:
            return otherwise
        if funding not in _FUNDINGS:
            self.wrong("funding", "FUNDING_METERED or FUNDING_PREPAID")
        return _FUNDINGS.get(funding, Funding.METERED)

    def amount(self, field: str, holder: Message) -> int:
        """Nano-dollars of the field `amount` of a message."""
        if not holder.HasField("amount"):
            self.wrong(field, "an amount of USD")
            return 0
        try:
            nanos = nanos_of(holder.amount)  # type: ignore[attr-defined]
        except ValueError as error:
            self.wrong(field, str(error))
            return 0
        if abs(nanos) > _MOST_NANOS:
            self.wrong(field, "at most 1,000,000,000 USD")
            return 0
        return nanos

    def budget(self, field: str, holder: Message) -> dict[str, Any]:
        """The columns of the field `budget` of a message; no budget where it has none."""
        if not holder.HasField("budget"):
            return {"budget_nanos": None, "budget_period": BudgetPeriod.TOTAL}
        budget = holder.budget  # type: ignore[attr-defined]
        nanos = self.amount(f"{field}.amount", budget)
        if nanos < 0:
            self.wrong(f"{field}.amount", "0 or more")
        if budget.period not in _PERIODS:
            self.wrong(f"{field}.period", "a period of polybatch.v1.BudgetPeriod")
        return {
            "budget_nanos": nanos,
            "budget_period": _PERIODS.get(budget.period, BudgetPeriod.TOTAL),
        }

    def retention(self, field: str, holder: Message) -> float | None:
        """Seconds of the field `results_retention` of a message; None where it has none."""
        if not holder.HasField("results_retention"):
            return None
        seconds = span_of(holder.results_retention)  # type: ignore[attr-defined]
        if not is_retention(seconds):
            self.wrong(field, "from 1 hour to 30 days; absent: as the service is set")
        return seconds

    def providers(
        self, field: str, names: Iterable[str], known: Collection[str]
    ) -> list[str] | None:
        """Names of providers; None for all."""
        allowed = list(dict.fromkeys(name.strip().lower() for name in names))
        unknown = [name for name in allowed if name not in known]
        if unknown:
            self.wrong(
                field,
                f"providers of this service ({', '.join(sorted(known))}), "
                f"not {unknown[0][:_MAX_PATTERN]!r}",
            )
        return allowed or None

    def models(self, field: str, patterns: Iterable[str]) -> list[str] | None:
        """Names of models or patterns; None for all."""
        allowed = list(dict.fromkeys(pattern.strip() for pattern in patterns))
        if len(allowed) > _MAX_ALLOWED:
            self.wrong(field, f"at most {_MAX_ALLOWED} names or patterns")
        if not all(1 <= len(each) <= _MAX_PATTERN and each.isprintable() for each in allowed):
            self.wrong(field, f"names or patterns of 1 to {_MAX_PATTERN} printable characters")
        return allowed or None

    def mask(self, mask: Sequence[str], fields: Sequence[str]) -> None:
        """Which fields an update changes."""
        if not mask or not set(mask) <= set(fields):
            self.wrong("update_mask", f"one or more of {', '.join(fields)}")
