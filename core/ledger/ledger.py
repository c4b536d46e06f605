"""The ledger: one database, seventeen repositories."""

from __future__ import annotations

from core.ledger.accounts import Accounts
from core.ledger.answer_lengths import AnswerLengths
from core.ledger.backfill import Backfills
from core.ledger.batches import Batches
from core.ledger.budgets import Budgets
from core.ledger.credits import Credits
from core.ledger.database import Database
from core.ledger.durations import Durations
from core.ledger.files import Files
from core.ledger.late import LateAnswers
from core.ledger.provider_holds import Holds
from core.ledger.provider_keys import TriedKeys
from core.ledger.remote_files import RemoteFiles
from core.ledger.rounds import Rounds
from core.ledger.runs import Runs
from core.ledger.shards import Shards
from core.ledger.statistics import Statistics
from core.ledger.usage import UsageReport


class Ledger:
    """The truth about accounts, files, batches and shards."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.accounts = Accounts(database)
        self.credits = Credits(database)
        self.files = Files(database)
        self.batches = Batches(database)
        self.shards = Shards(database)
        self.rounds = Rounds(database)
        self.runs = Runs(database)
        self.late = LateAnswers(database)
        self.budgets = Budgets(database)
        self.remote_files = RemoteFiles(database)
        self.holds = Holds(database)
        self.keys = TriedKeys(database)
        self.answer_lengths = AnswerLengths(database)
        self.durations = Durations(database)
        self.statistics = Statistics(database)
        self.usage = UsageReport(database)
        self.backfills = Backfills(database)

    @classmethod
    async def open(cls, url: str, *, pool_size: int = 10) -> Ledger:
        """Connect to a database and bring the schema up to date.

        `pool_size`: connections to PostgreSQL at the most. Raises BadDatabaseUrl and
        LedgerUnavailable.
        """
        database = Database.connect(url, pool_size=pool_size)
        await database.migrate()
        return cls(database)

    async def check(self) -> None:
        """Raise LedgerUnavailable when the database does not answer."""
        await self._database.check()

    async def close(self) -> None:
        """Close every connection."""
        await self._database.close()
