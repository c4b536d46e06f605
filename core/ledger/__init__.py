"""The ledger: the only place that knows SQL. Tables, state machines, transitions, migrations."""

from core.ledger.accounts import Accounts, month_of
from core.ledger.answer_lengths import AnswerLength, AnswerLengths
from core.ledger.batches import Batches, FileGone, RequestIdReused
from core.ledger.copying import TargetNotEmpty, copy_ledger
from core.ledger.credits import GrantReused
from core.ledger.durations import Durations, Expected
from core.ledger.engine import check_database_url
from core.ledger.errors import BadDatabaseUrl, LedgerFull, LedgerUnavailable, UnknownSchema
from core.ledger.families import (
    MOST_GENERATIONS,
    Families,
    FamilyChanged,
    FamilyFacts,
    NewRetry,
)
from core.ledger.files import FileInUse, Files, UploadGone
from core.ledger.funds import EnoughNow, Funds, NoFunds, NoPrice, Purse, usd
from core.ledger.halting import CANARY_FAILED, FAILURE_LIMIT, not_sent
from core.ledger.ids import new_id, new_token
from core.ledger.keys import KEY_PREFIX, KeyLimits, NewKey, new_secret
from core.ledger.late import AtWork, LateAnswers, ToMerge
from core.ledger.ledger import Ledger
from core.ledger.limits import NO_LIMITS, AccountLimits, Limit, OverLimit
from core.ledger.list_polls import InFlight, ListPolls, ProviderLoad
from core.ledger.pauses import HeldShard, Kept, NotHeld, Pauses, paused_reason, waits_for_canary
from core.ledger.probing import FLOOR as TOKEN_FLOOR
from core.ledger.progress import TWINS_WAIT
from core.ledger.quotas import FIRST_BYTES_PER_TOKEN, Learned, OverQuota, Quota, Quotas
from core.ledger.remote_files import LeftFile
from core.ledger.removal import NoResults, Removal, is_past
from core.ledger.rescues import may_rescue
from core.ledger.runs import AtCapacity, Runs
from core.ledger.shards import Settlement, Shards
from core.ledger.spend import ModelSpend, Spent
from core.ledger.states import (
    STOP_ERRORS,
    TERMINAL,
    BatchState,
    CanaryState,
    FileState,
    Priority,
    ResultsGone,
    ShardPurpose,
    ShardState,
    Stale,
    Stop,
    stopped_lines,
)
from core.ledger.statistics import Count, LivingBatches, Statistics, UnsettledShards, WaitingLines
from core.ledger.stop_loss import Figures, Limits, OverMaxCost, Room, StopLoss
from core.ledger.tables import (
    Account,
    ApiKey,
    Batch,
    BatchDuration,
    BudgetPeriod,
    DeliveryState,
    File,
    Funding,
    Posting,
    PostingKind,
    ProviderHold,
    ProviderKey,
    ProviderPause,
    Shard,
    Spending,
    TokenQuota,
    Upload,
    UsageRow,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    now,
)
from core.ledger.transitions import Held
from core.ledger.turns import QueuedShard, Turns
from core.ledger.usage import UsageAsked, UsageGroup, UsageSum
from core.ledger.webhook_deliveries import (
    EVENT_TYPES,
    Attempted,
    Claimed,
    EndpointDisabled,
    WebhookDeliveries,
    event_type,
)
from core.ledger.webhook_endpoints import SECRET_OVERLAP, WebhookEndpoints, WebhookExists
from core.scopes import Scope
