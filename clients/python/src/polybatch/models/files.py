"""A file and what was found in it. Fields are those of protos/polybatch/v1/files.proto."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from polybatch.errors import DataError
from polybatch.models.batches import time_or_none
from polybatch.v1 import files_pb2 as pb


class FileState(StrEnum):
    """Whether every line of a file can be sent."""

    UNSPECIFIED = "unspecified"
    """A state that this version of the client does not know."""
    READY = "ready"
    INVALID = "invalid"
    """At least one line cannot be sent: see the validation report."""

    @classmethod
    def from_proto(cls, number: int) -> FileState:
        """Returns the state for its number on the wire; UNSPECIFIED for one yet unknown."""
        return _BY_NUMBER.get(number, cls.UNSPECIFIED)


_BY_NUMBER: dict[int, FileState] = {
    pb.FileState.Value(f"FILE_STATE_{state.name}"): state for state in FileState
}


@dataclass(frozen=True, slots=True)
class ModelCount:
    """Lines for one model, as named in the file."""

    provider: str
    model: str
    line_count: int


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

    @classmethod
    def from_report(cls, raw: bytes) -> LineProblem:
        """Builds it from a line of a validation report. DataError if it is none."""
        try:
            entry = json.loads(raw)
            return cls(
                line=int(entry["line"]),
                custom_id=str(entry.get("custom_id") or ""),
                field=str(entry.get("field") or ""),
                reason=str(entry["reason"]),
                message=str(entry["message"]),
                severity=str(entry.get("severity", "error")),
                lenient=bool(entry.get("lenient", False)),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"a line of the validation report cannot be read ({error!r}).",
                reason="REPORT_UNREADABLE",
            ) from error


@dataclass(frozen=True, slots=True)
class File:
    """What is known of a stored file."""

    id: str
    filename: str
    state: FileState
    bytes: int
    """Size."""
    sha256: str
    """Lowercase hexadecimal."""
    line_count: int
    """Lines that are not blank."""
    invalid_line_count: int
    """Lines that not every batch takes."""
    lenient_line_count: int
    """Of these, lines that a lenient batch takes."""
    endpoint: str
    """The one url of all lines."""
    created_at: datetime | None
    models: tuple[ModelCount, ...]
    problem_count: int
    """Problems in the validation report, warnings left out."""
    problems: tuple[LineProblem, ...] = ()
    """The first 20, as the upload's answer names them; empty for a file fetched later."""

    @property
    def valid(self) -> bool:
        """Whether every line can be sent."""
        return self.state is FileState.READY

    @classmethod
    def from_proto(cls, message: Any, problems: Iterable[Any] = ()) -> File:
        """Builds it from polybatch.v1.File and, after an upload, the LineProblems with it."""
        return cls(
            id=message.id,
            filename=message.filename,
            state=FileState.from_proto(message.state),
            bytes=message.bytes,
            sha256=message.sha256,
            line_count=message.line_count,
            invalid_line_count=message.invalid_line_count,
            lenient_line_count=message.lenient_line_count,
            endpoint=message.endpoint,
            created_at=time_or_none(message, "created_at"),
            models=tuple(
                ModelCount(count.provider, count.model, count.line_count)
                for count in message.models
            ),
            problem_count=message.problem_count,
            problems=tuple(LineProblem.from_proto(problem) for problem in problems),
        )


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """How far an upload has come."""

    upload_id: str
    committed_size: int
    """Bytes that are durable; never falls."""
    complete: bool
    file_id: str
    """Empty until complete."""

    @classmethod
    def from_proto(cls, message: Any) -> UploadStatus:
        """Builds it from polybatch.v1.UploadStatus."""
        return cls(
            upload_id=message.upload_id,
            committed_size=message.committed_size,
            complete=message.complete,
            file_id=message.file_id,
        )
