"""Why lines failed. Fields are those of protos/polybatch/v1/results.proto."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polybatch.models.messages import from_message


@dataclass(frozen=True, slots=True)
class LineFailure:
    """One failed line."""

    line: int
    """1-based number of the line in the input file, blank lines counted."""
    custom_id: str
    code: str
    """Machine code, such as "batch_expired" or the provider's own."""
    message: str
    status_code: int
    """HTTP status of the provider's answer; 0 where the line never ran."""
    cause_id: str = ""
    """Of its cause, as in `failure_causes`."""

    @classmethod
    def from_proto(cls, message: Any) -> LineFailure:
        """Builds it from polybatch.v1.LineFailure."""
        return from_message(cls, message)


@dataclass(frozen=True, slots=True)
class FailureCause:
    """What lines that failed for the same reason have in common."""

    id: str
    """The same for equal causes of all batches."""
    provider: str
    """Empty for lines that failed the check at upload."""
    code: str
    field: str
    """Path of the field that is wrong; empty: none in particular."""
    message: str
    """With "..." in place of what differs from line to line."""
    line_count: int
    share: float
    """Of all lines that did not succeed, from 0 to 1."""
    first_lines: tuple[int, ...]
    """Numbers of the first lines, 5 at most."""
    hint: str
    """What to do about it, for people."""


@dataclass(frozen=True, slots=True)
class FailureCauses:
    """The lines of a batch that did not succeed, by cause."""

    causes: tuple[FailureCause, ...]
    """At most 100, the most frequent first."""
    failure_count: int
    other_line_count: int
    """Lines with other causes."""

    @classmethod
    def from_proto(cls, message: Any) -> FailureCauses:
        """Builds it from polybatch.v1.ListFailureCausesResponse."""
        causes = tuple(from_message(FailureCause, cause) for cause in message.causes)
        return from_message(cls, message, causes=causes)
