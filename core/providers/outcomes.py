"""What can become of a create, and of looking for one whose outcome is not known."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from core.providers.attempts import NO_UPLOAD, Upload
from core.providers.error_line_numbers import without_positions


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider created the batch."""

    remote_id: str
    remote_file_id: str = ""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line for whose sake the provider refused the whole batch."""

    position: int
    """1-based, in the spool as it was sent."""
    code: str
    field: str
    """As the provider names it, such as "body.model"; empty if it does not say."""
    message: str
    """As the provider says it: the numbers of lines in it are positions, too."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider said no, clearly: nothing was created, nothing is paid."""

    code: str
    message: str
    """Human-readable; the numbers of lines that a provider quotes are taken out of it, as they
    are those of the file that was sent."""
    transient: bool
    """True: the same request may be accepted later (rate, quota, overload)."""
    retry_after: float | None = None
    """Seconds, as the provider asked."""
    enqueued_token_limit: int | None = None
    """Set for code "token_limit_exceeded" when the provider names its limit: tokens that
    may be enqueued for the model at a time."""
    access: bool = False
    """It is the key that was refused: the same request may be accepted with another one."""
    bad_lines: tuple[BadLine, ...] = ()
    """The bad lines, where the provider names them: without them the rest may be accepted.

    Not sure to be all of them: OpenAI may stop at the first.
    """
    upload: Upload = NO_UPLOAD
    """What was uploaded for it, and can be used again."""
    input_lost: bool = False
    """The provider cannot use the uploaded input (any more): the next attempt uploads anew."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", without_positions(self.message))


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """No clear answer: the batch may or may not exist. Look before sending again."""

    message: str


SubmitOutcome = Accepted | Refused | OutcomeUnknown


def accepted(
    path: str, answer: bytes, read_id: Callable[[bytes], str], remote_file_id: str = ""
) -> Accepted | OutcomeUnknown:
    """The batch that an accepted create has made; unknown where the answer names none.

    `answer`: the body of the reply to a POST to `path`.
    """
    try:
        remote_id = read_id(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        remote_id = ""
    if remote_id:
        return Accepted(remote_id, remote_file_id)
    return OutcomeUnknown(f"POST {path}: accepted, but the answer names no batch")


class NotOurs(Exception):
    """The attempt belongs to somebody else by now: its create must not be sent."""


Gate: TypeAlias = Callable[[Upload], Awaitable[None]]
"""Asked just before the first byte of a create leaves, with the input that it names. Raises
NotOurs, or whatever keeps it from knowing: then nothing may be sent."""


async def always_open(_upload: Upload = NO_UPLOAD) -> None:
    """The gate of a caller that has no rival."""


@dataclass(frozen=True, slots=True)
class Found:
    """The batch of the intent exists."""

    remote_id: str
    remote_file_id: str = ""


@dataclass(frozen=True, slots=True)
class Absent:
    """The batch of the intent surely does not exist: sending again is safe."""


@dataclass(frozen=True, slots=True)
class Unsure:
    """It cannot be told yet; ask again later."""

    message: str
    retry_after: float | None = None
    """Seconds until the answer may be another; None where it depends on the provider."""


FindOutcome = Found | Absent | Unsure
