"""The tables. Rows handed out are detached copies: changing one changes nothing."""

from core.ledger.tables.accounts import Account, ApiKey, BudgetPeriod, Funding
from core.ledger.tables.batches import Batch, BatchTerm
from core.ledger.tables.columns import now
from core.ledger.tables.files import DISCARDED, File, Upload
from core.ledger.tables.money import Posting, PostingKind, Spending, UsageRow
from core.ledger.tables.providers import (
    BatchDuration,
    ProviderDuration,
    ProviderHold,
    ProviderKey,
    ProviderPause,
    TokenQuota,
)
from core.ledger.tables.shards import CANARY, PAUSED, Shard
from core.ledger.tables.webhooks import (
    DeliveryState,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)
