"""The ledger: the only place that knows SQL. Tables, state machines, transitions, migrations."""

from core.ledger.accounts import KEY_PREFIX, Accounts, NewKey, new_secret
from core.ledger.batches import Batches, FileGone, RequestIdReused
from core.ledger.budgets import Budget, Budgets, OverQuota
from core.ledger.copying import TargetNotEmpty, copy_ledger
from core.ledger.durations import Durations, Expected
from core.ledger.errors import BadDatabaseUrl, LedgerFull, LedgerUnavailable
from core.ledger.files import FileInUse, Files
from core.ledger.ids import new_id, new_token
from core.ledger.late import AtWork, LateAnswers
from core.ledger.ledger import Ledger
from core.ledger.limits import NO_LIMITS, AccountLimits, Limit, OverLimit
from core.ledger.list_polls import InFlight, ListPolls, ProviderLoad
from core.ledger.probing import FLOOR as TOKEN_FLOOR
from core.ledger.remote_files import LeftFile
from core.ledger.runs import AtCapacity, Runs
from core.ledger.shards import Settlement, Shards
from core.ledger.states import (
    STOP_ERRORS,
    TERMINAL,
    BatchState,
    FileState,
    ShardState,
    Stale,
    Stop,
    stopped_lines,
)
from core.ledger.statistics import Count, LivingBatches, Statistics, UnsettledShards, WaitingLines
from core.ledger.tables import (
    Account,
    ApiKey,
    Batch,
    File,
    ProviderHold,
    ProviderKey,
    Shard,
    TokenBudget,
    Upload,
    now,
)

__all__ = [
    "KEY_PREFIX",
    "NO_LIMITS",
    "STOP_ERRORS",
    "TERMINAL",
    "TOKEN_FLOOR",
    "Account",
    "AccountLimits",
    "Accounts",
    "ApiKey",
    "AtCapacity",
    "AtWork",
    "BadDatabaseUrl",
    "Batch",
    "BatchState",
    "Batches",
    "Budget",
    "Budgets",
    "Count",
    "Durations",
    "Expected",
    "File",
    "FileGone",
    "FileInUse",
    "FileState",
    "Files",
    "InFlight",
    "LateAnswers",
    "Ledger",
    "LedgerFull",
    "LedgerUnavailable",
    "LeftFile",
    "Limit",
    "ListPolls",
    "LivingBatches",
    "NewKey",
    "OverLimit",
    "OverQuota",
    "ProviderHold",
    "ProviderKey",
    "ProviderLoad",
    "RequestIdReused",
    "Runs",
    "Settlement",
    "Shard",
    "ShardState",
    "Shards",
    "Stale",
    "Statistics",
    "Stop",
    "TargetNotEmpty",
    "TokenBudget",
    "UnsettledShards",
    "Upload",
    "WaitingLines",
    "copy_ledger",
    "new_id",
    "new_secret",
    "new_token",
    "now",
    "stopped_lines",
]
