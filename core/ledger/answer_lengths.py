"""How long answers were lately, by model: what the expected cost of a batch is reckoned by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from sqlalchemy import case, func
from sqlmodel import col, select

from core.ledger.database import Database
from core.ledger.tables import UsageRow

ENOUGH_LINES = 20
"""With fewer lines of an account's own, those of all accounts say more."""
_MODELS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class AnswerLength:
    """Tokens of the answers to lines of one model."""

    tokens: int
    """The mean of a line, rounded up."""
    lines: int
    """That it is the mean of."""
    of_account: bool
    """Whether they are the account's own; else those of the whole installation."""


class AnswerLengths:
    """Means over the usage of settled shards."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(
        self, account_id: str, models: Iterable[tuple[str, str]], since: date
    ) -> dict[tuple[str, str], AnswerLength]:
        """By provider and model as lines name it; without those of which too little is known.

        `since`: the first day (UTC) that is looked at.
        """
        wanted = set(models)
        names = sorted({model for _, model in wanted})
        mine = col(UsageRow.account_id) == account_id
        found: dict[tuple[str, str], AnswerLength] = {}
        async with self._database.read() as session:
            for start in range(0, len(names), _MODELS_AT_ONCE):
                rows = await session.exec(
                    select(
                        UsageRow.provider,
                        UsageRow.model,
                        func.sum(case((mine, col(UsageRow.lines)), else_=0)),
                        func.sum(case((mine, col(UsageRow.output_tokens)), else_=0)),
                        func.sum(UsageRow.lines),
                        func.sum(UsageRow.output_tokens),
                    )  # type: ignore[call-overload]
                    .where(
                        col(UsageRow.model).in_(names[start : start + _MODELS_AT_ONCE]),
                        col(UsageRow.day) >= since,
                    )
                    .group_by(UsageRow.provider, UsageRow.model)
                )
                for provider, model, *sums in rows:
                    length = _length(*map(int, sums))
                    if length is not None and (provider, model) in wanted:
                        found[provider, model] = length
        return found


def _length(
    own_lines: int, own_tokens: int, all_lines: int, all_tokens: int
) -> AnswerLength | None:
    if own_lines >= ENOUGH_LINES:
        return AnswerLength(-(-own_tokens // own_lines), own_lines, of_account=True)
    if all_lines >= ENOUGH_LINES:
        return AnswerLength(-(-all_tokens // all_lines), all_lines, of_account=False)
    return None
