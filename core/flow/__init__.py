"""What keeps a batch moving, in every service: the connections that it stands on, the
announcement of each change, the sweep that finds again what the bus lost, and what
dispatcher and collector both know of limits and of lines that were run here."""

from core.flow.announce import Announcer
from core.flow.backbone import Backbone, open_backbone, open_ledger
from core.flow.holds import sharing
from core.flow.inputs import UploadedInputs
from core.flow.keys import ProviderKeys
from core.flow.late import LateShards, late_interval
from core.flow.lease import kept
from core.flow.observing import observed
from core.flow.outages import outages, storage_error
from core.flow.pausing import pausing
from core.flow.poll_times import first_look, next_look
from core.flow.program import run_service
from core.flow.providers import find_providers
from core.flow.readiness import Readiness
from core.flow.runlog import Event, Record, RunLog, RunTaken, read_run
from core.flow.settling import Settler
from core.flow.sweep import Sweep, Watched
from core.flow.tls import tls_files
from core.flow.tokens import CODE as TOKEN_LIMIT
from core.flow.tokens import Allowance, TokenBudgets, refused_for_itself, surely_over

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
    "tls_files",
]
