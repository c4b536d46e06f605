"""What keeps a batch moving, in every service: the connections that it stands on, the
announcement of each change, the sweep that finds again what the bus lost, and what
dispatcher and collector both know of limits and of lines that were run here."""

from core.pipeline.announce import Announcer
from core.pipeline.backbone import Backbone, open_backbone, open_ledger
from core.pipeline.holds import sharing
from core.pipeline.inputs import UploadedInputs
from core.pipeline.keys import ProviderKeys
from core.pipeline.late import LateShards, late_interval
from core.pipeline.lease import kept
from core.pipeline.observing import observed
from core.pipeline.outages import outages, storage_error
from core.pipeline.pausing import pausing
from core.pipeline.poll_times import first_look, next_look
from core.pipeline.program import run_service
from core.pipeline.providers import find_providers
from core.pipeline.readiness import Readiness
from core.pipeline.runlog import Event, Record, RunLog, RunTaken, read_run
from core.pipeline.settling import Settler
from core.pipeline.sweep import Sweep, Watched
from core.pipeline.tokens import CODE as TOKEN_LIMIT
from core.pipeline.tokens import Allowance, TokenBudgets, refused_for_itself, surely_over

__all__ = [
    "TOKEN_LIMIT",
    "Allowance",
    "Announcer",
    "Backbone",
    "Event",
    "LateShards",
    "ProviderKeys",
    "Readiness",
    "Record",
    "RunLog",
    "RunTaken",
    "Settler",
    "Sweep",
    "TokenBudgets",
    "UploadedInputs",
    "Watched",
    "find_providers",
    "first_look",
    "kept",
    "late_interval",
    "next_look",
    "observed",
    "open_backbone",
    "open_ledger",
    "outages",
    "pausing",
    "read_run",
    "refused_for_itself",
    "run_service",
    "sharing",
    "storage_error",
    "surely_over",
]
