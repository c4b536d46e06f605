"""What the proxy notes of each call, and what it reads in the messages that go through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from polybatch.v1 import batches_pb2, files_pb2, results_pb2
from polybatch.v1 import status_pb2 as watches_pb2

UPLOAD = frozenset({"SubmitBatch", "UploadFile"})
"""The streams that a file may go up in; a client uses one of the two."""
WATCH = frozenset({"WatchBatch"})
DOWNLOAD = frozenset({"DownloadResults"})
STATUS = frozenset({"GetUploadStatus"})

METHODS: dict[str, Any] = {
    f"/{service.full_name}/{method.name}": method
    for file in (batches_pb2, files_pb2, results_pb2, watches_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""Descriptors by the path of the call. What is not here (health, reflection, keys) is passed
on and not noted."""

# Of requests: where to go on. They are noted where they are 0 too.
_POSITIONS = ("last_revision", "offset", "results_revision", "write_offset")


@dataclass
class Call:
    """One call of a client, as the proxy saw it."""

    method: str
    port: str
    """Name of the proxy's port that it came to."""
    began: float
    """Seconds since the scenario began, as all times here."""
    deadline: float | None
    """Seconds that the client gives it; None: it has no deadline."""
    streams_up: bool
    streams_down: bool
    fields: dict[str, Any] = field(default_factory=dict)
    """Of the first request, those that say where to go on, and which work it is."""
    bytes_up: int = 0
    """Of chunks, read from the client and passed on."""
    bytes_down: int = 0
    """Of chunks, passed to the client."""
    revisions: list[int] = field(default_factory=list)
    """Of the snapshots passed to the client; of a download that in its header."""
    committed: int | None = None
    """What GetUploadStatus answered; 0 where it knows no such upload."""
    batch_id: str = ""
    """Of the batch that it made."""
    held: bool = False
    """The proxy holds it: nothing more goes through."""
    ended: float | None = None
    status: str = "open"
    """A code with its reason, once it has ended."""

    def __str__(self) -> str:
        deadline = "no deadline" if self.deadline is None else f"deadline {self.deadline:.1f} s"
        told = [f"{name}={value}" for name, value in self.fields.items()]
        told += [f"{self.bytes_up:,} bytes up"] if self.bytes_up else []
        told += [f"revisions {self.revisions}"] if self.revisions else []
        told += [f"{self.bytes_down:,} bytes down"] if self.bytes_down else []
        told += [f"committed {self.committed:,}"] if self.committed is not None else []
        told += [f"made {self.batch_id}"] if self.batch_id else []
        end = f" at {self.ended:.3f} s" if self.ended is not None else ""
        return (
            f"{self.began:8.3f} s  {self.method} at {self.port}, {deadline}: "
            f"{', '.join(told) or '-'}: {self.status}{end}"
        )


class Reader:
    """Reads the messages of one call into its record."""

    def __init__(self, call: Call, method: Any) -> None:
        self._call = call
        self._request: Callable[[bytes], Any] = GetMessageClass(method.input_type).FromString
        self._reply: Callable[[bytes], Any] = GetMessageClass(method.output_type).FromString

    def request(self, raw: bytes) -> None:
        """A message from the client."""
        call, message = self._call, self._request(raw)
        if not call.streams_up:
            for name in ("upload_id", "batch_id", "request_id", *_POSITIONS):
                self._note(message, name)
            return
        if message.WhichOneof("payload") == "spec":
            spec = message.spec
            submitted = call.method == "SubmitBatch"
            if submitted:
                self._note(spec.batch, "request_id")
            for name in ("upload_id", "write_offset"):
                self._note(spec.upload if submitted else spec, name)
        elif message.WhichOneof("payload") == "chunk":
            call.bytes_up += len(message.chunk)

    def reply(self, raw: bytes) -> bool:
        """A message to the client. Returns whether a break counts it: no sign of life."""
        call, message = self._call, self._reply(raw)
        if call.method in WATCH:
            if not message.HasField("batch"):
                return False
            call.revisions.append(message.batch.revision)
        elif call.method in DOWNLOAD:
            if message.HasField("header"):
                call.revisions.append(message.header.results_revision)
            call.bytes_down += len(message.chunk)
        elif call.method in STATUS:
            call.committed = message.committed_size
        elif call.method == "GetBatch":
            call.revisions.append(message.revision)
        elif call.method in ("SubmitBatch", "CreateBatch"):
            call.batch_id = message.id
        return True

    def in_state(self, raw: bytes, number: int) -> bytes:
        """A message to the client, with another state of the batch where that is completed."""
        message = self._reply(raw)
        watched = self._call.method in WATCH and message.HasField("batch")
        batch = message.batch if watched else message
        if (
            isinstance(batch, batches_pb2.Batch)
            and batch.state == batches_pb2.BATCH_STATE_COMPLETED
        ):
            batch.state = number
        return bytes(message.SerializeToString())

    def end(self, code: grpc.StatusCode, trailers: Any) -> None:
        """The status that the service gave."""
        call, reason = self._call, _reason(trailers)
        if call.method in STATUS and reason == "UPLOAD_NOT_FOUND":
            call.committed = 0
        call.status = f"{code.name} ({reason})" if reason else code.name

    def _note(self, message: Any, name: str) -> None:
        if name in message.DESCRIPTOR.fields_by_name:
            value = getattr(message, name)
            if value or name in _POSITIONS:
                self._call.fields[name] = value


def _reason(trailers: Any) -> str:
    """ErrorInfo's reason in a status; empty where there is none."""
    packed = dict(trailers or ()).get("grpc-status-details-bin", b"")
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(packed).details:
        if detail.Unpack(info):
            return str(info.reason)
    return ""
