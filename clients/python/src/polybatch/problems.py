"""What is wrong with a line, as errors, files and validation reports say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LineProblem:
    """One problem of one line."""

    line: int
    """1-based number of the line, blank lines counted; 0 where it is about no line."""
    custom_id: str
    """Empty where the line has none that can be read."""
    field: str
    """Path of the field, such as "body.model"; empty for the line as a whole."""
    reason: str
    """Machine code, such as "duplicate_custom_id"."""
    message: str
    """What is wrong and what was expected."""
    severity: str = "error"
    """"error" or "warning"."""
    lenient: bool = False
    """Whether an error is one only for batches that are not lenient."""

    @classmethod
    def from_proto(cls, message: Any) -> LineProblem:
        """Builds it from polybatch.v1.LineProblem."""
        return cls(
            line=message.line,
            custom_id=message.custom_id,
            field=message.field,
            reason=message.reason,
            message=message.message,
            lenient=message.lenient,
        )
