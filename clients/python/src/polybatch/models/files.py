"""A file and what was found in it. Fields are those of protos/polybatch/v1/files.proto."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from polybatch.models.messages import from_message
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
        return from_message(
            cls,
            message,
            state=FileState.from_proto(message.state),
            models=tuple(from_message(ModelCount, count) for count in message.models),
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
        return from_message(cls, message)
