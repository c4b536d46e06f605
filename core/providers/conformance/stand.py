"""What a provider's stand-in must be able to do for its adapter to be tested against it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from core.providers.contract import Provider


class Call(StrEnum):
    """The kinds of calls that adapters make. Not every provider has all of them."""

    UPLOAD = "upload"
    CREATE = "create"
    LIST = "list"
    POLL = "poll"
    RESULTS = "results"
    CANCEL = "cancel"
    DISCARD = "discard"


class Fate(StrEnum):
    """What comes of one request."""

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    """For good: the request is wrong."""
    FAILS_FOR_NOW = "fails_for_now"
    """With an error that passes, such as an overload."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The call is answered with an error, in the provider's own form, and has no effect."""

    status: int
    retry_after: float | None = None
    """Seconds."""
    tells_key: bool = False
    """The message and a header of the answer repeat the key that was sent."""
    padding: int = 0
    """Characters by which the message is longer."""


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """The call has its effect; the connection breaks before anything is answered."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The connection breaks once the call has been sent, and it has no effect."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The call has its effect; the connection breaks after so many bytes of the body."""

    after: int


@dataclass(frozen=True, slots=True)
class Garbage:
    """The call is answered 200 with a page of HTML, and has no effect."""


@dataclass(frozen=True, slots=True)
class Stalled:
    """The call has its effect; the body of the answer is so many seconds late."""

    seconds: float


@dataclass(frozen=True, slots=True)
class UnknownStatus:
    """The batch is told to be in a state that no documentation names. For polls."""


Trouble = Answer | LostAnswer | Dropped | Cut | Garbage | Stalled | UnknownStatus


class Stand(Protocol):
    """A stand-in for one provider, over real HTTP, empty when a case begins.

    Its answers repeat the text that was asked, and its results come in another order than
    the requests.
    """

    key: str
    """The key that opened adapters use."""
    model: str
    """As files name it, with the provider's prefix."""
    calls: Set[Call]
    """Those that the provider has."""

    def open(self, *, timeout: float, settle: float) -> Provider:
        """A new adapter that is connected to the stand-in. Both in seconds."""
        ...

    def text(self, words: str, fate: Fate) -> str:
        """A message with these words that meets this fate."""
        ...

    async def trouble(self, call: Call, trouble: Trouble, *, times: int) -> None:
        """Let the next so many calls of a kind go wrong, beside what was set before."""
        ...

    async def pace(self, *, batch_seconds: float) -> None:
        """How long batches run, those under way included; at first 0."""
        ...

    async def hide(self) -> None:
        """Let batches neither be found nor listed from now on."""
        ...

    async def run_some(self) -> None:
        """Run some lines of the batches under way, but not all, and then no more."""
        ...

    async def expire(self) -> None:
        """Close the window of the batches under way."""
        ...

    async def created(self) -> int:
        """How many batches have been created."""
        ...

    async def uploads(self) -> int:
        """How many uploaded input files are kept; 0 where a provider has none."""
        ...
