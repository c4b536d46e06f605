"""What keeps a batch moving, in every service: the connections that it stands on, the
announcement of each change, the sweep that finds again what the bus lost, and what
dispatcher and collector both know of limits and of lines that were run here."""

from core.pipeline.adapters import Adapters
from core.pipeline.backfill import Backfill
from core.pipeline.batch_prices import BatchPrices, PricedModel
from core.pipeline.borrowed_answers import BorrowedAnswers
from core.pipeline.file_prices import FilePrices
from core.pipeline.funds import WaitingForFunds
from core.pipeline.holds import sharing
from core.pipeline.keys import Checked, ProviderKeys
from core.pipeline.late_answers import LateShards, next_late_look
from core.pipeline.lease import renewing_lease
from core.pipeline.outage_retry import outage_retry
from core.pipeline.pauses import HeldShards, PauseWatch
from core.pipeline.poll_times import first_look, next_look
from core.pipeline.prices import find_prices
from core.pipeline.program import run_service
from core.pipeline.providers import find_providers
from core.pipeline.publishing import EventPublisher
from core.pipeline.readiness import Readiness
from core.pipeline.reckoning import Basis, LineEstimate, Reckoner
from core.pipeline.remote_files import RemoteFileCleanup
from core.pipeline.run_log import Event, Record, RunLog, RunTaken, read_run
from core.pipeline.runtime import Runtime, open_ledger, open_runtime
from core.pipeline.settling import Settler, count_from_zero
from core.pipeline.shared_reads import SharedReads
from core.pipeline.storage_errors import outages, storage_error
from core.pipeline.sweep import Sweep, Watched
from core.pipeline.telemetry import telemetry
from core.pipeline.token_quotas import CODE as TOKEN_LIMIT
from core.pipeline.token_quotas import Allowance, TokenQuotas, refused_for_itself, surely_over
