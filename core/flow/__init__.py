"""What keeps a batch moving, in every service: the connections that it stands on, the
announcement of each change, and the sweep that finds again what the bus lost."""

from core.flow.announce import Announcer
from core.flow.backbone import Backbone, open_backbone
from core.flow.program import run_service
from core.flow.providers import find_providers
from core.flow.readiness import Readiness
from core.flow.sweep import Sweep, Watched
from core.flow.tokens import Allowance, TokenBudgets

__all__ = [
    "Allowance",
    "Announcer",
    "Backbone",
    "Readiness",
    "Sweep",
    "TokenBudgets",
    "Watched",
    "find_providers",
    "open_backbone",
    "run_service",
]
