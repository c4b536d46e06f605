"""What moves an account's money: postings, with the balance kept beside them. Nano-dollars."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import update
from sqlmodel import col

from core.failpoints import Failpoint
from core.ledger.database import Database
from core.ledger.tables import Account, Posting, PostingKind, now


@dataclass(frozen=True, slots=True)
class GrantReused:
    """The request id granted the account another amount."""

    posting: Posting


class Credits:
    """Postings of all accounts. Each is made once, by its reason."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def grant(
        self, account_id: str, nanos: int, *, request_id: str, note: str = ""
    ) -> tuple[Account, Posting] | GrantReused:
        """Add to an account's balance, or take away from it, once for each request id.

        Returns the account as it is now, and the posting, the earlier one where it is a
        repetition. Raises KeyError for an unknown account.
        """
        reason = f"grant:{account_id}:{request_id}"
        async with self._database.write(Failpoint.CREDITS_GRANT) as session:
            # Of two calls with one id, the second sees the posting of the first.
            await self._database.lock_account(session, account_id)
            account = await session.get(Account, account_id)
            if account is None:
                raise KeyError(account_id)
            earlier = await session.get(Posting, reason)
            if earlier is not None:
                same = earlier.balance_nanos == nanos
                return (account, earlier) if same else GrantReused(earlier)
            posting = Posting(
                reason=reason,
                kind=PostingKind.GRANT,
                account_id=account_id,
                balance_nanos=nanos,
                note=note,
                created_at=now(),
            )
            session.add(posting)
            changed = await session.exec(
                update(Account)
                .where(col(Account.id) == account_id)
                .values(balance_nanos=col(Account.balance_nanos) + nanos)
                .returning(Account)
                .execution_options(synchronize_session=False, populate_existing=True)
            )
            return changed.scalar_one(), posting
