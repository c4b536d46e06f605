"""A file and what was found in it. Fields are those of protos/polybatch/v1/files.proto."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from polybatch.models.batches import time_or_none
from polybatch.problems import LineProblem
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
    expires_at: datetime | None = None
    """When it is deleted, unless a batch of it runs then; None: it is kept."""

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
            expires_at=time_or_none(message, "expires_at"),
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
