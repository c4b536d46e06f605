"""What the supervisor has to know of a child process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Probe: TypeAlias = Callable[[], Awaitable[None]]
"""Returns once the child does its work. It tries for ever; the supervisor cancels it."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child process. Times in seconds."""

    name: str
    command: tuple[str, ...]
    """Absolute path of the program, then its arguments."""
    probe: Probe
    environment: Mapping[str, str] = field(default_factory=dict)
    """Set on top of the supervisor's own environment."""
    stop_grace: float = 30.0
    """How long the child may take to stop after SIGTERM, before SIGKILL."""
    log_hint: str = ""
    """Where its log is, if it does not write to stderr."""
