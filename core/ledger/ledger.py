"""The ledger: one database, the repositories of all that is in it."""

from __future__ import annotations

from datetime import timedelta

from core.ledger.accounts import Accounts
from core.ledger.answer_lengths import AnswerLengths
from core.ledger.backfill import Backfills
from core.ledger.batches import Batches
from core.ledger.credits import Credits
from core.ledger.database import Database
from core.ledger.durations import Durations
from core.ledger.families import Families
from core.ledger.files import Files
from core.ledger.funds import Funds
from core.ledger.late import LateAnswers
from core.ledger.lending import Lending
from core.ledger.list_polls import ListPolls
from core.ledger.pauses import Pauses
from core.ledger.provider_holds import Holds
from core.ledger.provider_keys import TriedKeys
from core.ledger.quotas import Quotas
from core.ledger.remote_files import RemoteFiles
from core.ledger.removal import Removal
from core.ledger.rescues import Rescues
from core.ledger.runs import Runs
from core.ledger.shards import Shards
from core.ledger.statistics import Statistics
from core.ledger.stop_loss import StopLoss
from core.ledger.turns import Turns
from core.ledger.usage import UsageReport
from core.ledger.webhook_deliveries import WebhookDeliveries
from core.ledger.webhook_endpoints import WebhookEndpoints


class Ledger:
    """The truth about accounts, files, batches and shards."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.accounts = Accounts(database)
        self.credits = Credits(database)
        self.funds = Funds(database)
        self.files = Files(database)
        self.batches = Batches(database)
        self.families = Families(database)
        self.shards = Shards(database)
        self.list_polls = ListPolls(database)
        self.runs = Runs(database)
        self.rescues = Rescues(database)
        self.stop_loss = StopLoss(database)
        self.pauses = Pauses(database)
        self.turns = Turns(database)
        self.late = LateAnswers(database)
        self.lending = Lending(database)
        self.quotas = Quotas(database)
        self.remote_files = RemoteFiles(database)
        self.removal = Removal(database)
        self.holds = Holds(database)
        self.keys = TriedKeys(database)
        self.answer_lengths = AnswerLengths(database)
        self.durations = Durations(database)
        self.statistics = Statistics(database)
        self.backfills = Backfills(database)
        self.usage = UsageReport(database)
        self.webhook_endpoints = WebhookEndpoints(database)
        self.webhook_deliveries = WebhookDeliveries(database)

    @classmethod
    async def open(cls, url: str, *, pool_size: int = 10) -> Ledger:
        """Connect to a database and bring the schema up to date.

        `pool_size`: connections to PostgreSQL at the most. Raises BadDatabaseUrl,
        UnknownSchema and LedgerUnavailable.
        """
        database = Database.connect(url, pool_size=pool_size)
        await database.migrate()
        return cls(database)

    async def check(self) -> None:
        """Raise LedgerUnavailable when the database does not answer."""
        await self._database.check()

    async def end_hung(self) -> int:
        """End connections of processes that stand still amid a statement, and so keep what they
        have locked from all others; returns how many."""
        return await self._database.end_hung()

    async def clock_ahead(self) -> timedelta:
        """How far the clock of this process is ahead of the one that all replicas share.

        For moments that another replica wrote, where a difference could cost money.
        """
        async with self._database.read() as session:
            return await self._database.clock_ahead(session)

    async def close(self) -> None:
        """Close every connection."""
        await self._database.close()
