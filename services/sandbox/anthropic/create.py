"""The creation of an Anthropic batch from its one long body, read while it comes in."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from services.sandbox.anthropic.lines import Line, Params
from services.sandbox.plan import MARK, UNREADABLE, Plan, PlanWriter
from services.sandbox.splitter import BadBody, ElementTooLong, Splitter
from services.sandbox.store import BLOCK_BYTES
from services.sandbox.unique import UniqueIds

MAX_REQUESTS = 100_000
MAX_BYTES = 256_000_000
"""The smaller reading of "256 MB", so that whoever goes by the larger one sees it here."""
MAX_REQUEST_BYTES = 32 * 1024 * 1024
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class _Named(msgspec.Struct):
    model: str = "unknown"


_params_of = msgspec.json.Decoder(Params).decode
_named_of = msgspec.json.Decoder(_Named).decode


class Refused(Exception):
    """The create is refused, with an HTTP status and an error type."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


def _invalid(message: str) -> Refused:
    return Refused(400, "invalid_request_error", message)


def _too_large() -> Refused:
    return Refused(413, "request_too_large", "Request exceeds the maximum size")


async def receive(body: AsyncIterator[bytes], path: Path, records: Path, version: str) -> Plan:
    """Store the requests of a create, one a line, and plan their run. Raises Refused."""
    writer = PlanWriter(path, records)
    intake = _Intake(writer, version)
    splitter = Splitter(msgspec.json.Decoder(Line).decode, MAX_REQUEST_BYTES)
    size = 0
    try:
        with path.open("wb", buffering=0) as file:
            async for chunk in body:
                size += len(chunk)
                if size > MAX_BYTES:
                    raise _too_large()
                intake.take(splitter.feed(chunk))
                if intake.waiting_bytes >= BLOCK_BYTES:
                    intake.store(file)
            splitter.finish()
            intake.check_whole()
            intake.store(file)
    except BadBody as error:
        _discard(writer, path)
        raise _invalid(str(error)) from error
    except ElementTooLong as error:
        _discard(writer, path)
        raise _too_large() from error
    except BaseException:
        _discard(writer, path)
        raise
    return writer.finish()


def _discard(writer: PlanWriter, path: Path) -> None:
    writer.abandon()
    path.unlink(missing_ok=True)


class _Intake:
    def __init__(self, writer: PlanWriter, version: str) -> None:
        self._writer = writer
        self._version = version
        self._ids = UniqueIds()
        self._lines: list[bytearray] = []
        self._offset = 0
        self.waiting_bytes = 0
        """Length of the lines that are not stored yet."""

    def take(self, elements: list[tuple[bytearray, Line | None]]) -> None:
        """Check and count some requests."""
        writer, ids = self._writer, self._ids
        for raw, line in elements:
            if line is None:
                raise self._look_closely(raw)
            if not _CUSTOM_ID.fullmatch(line.custom_id):
                raise _invalid(
                    f"requests.{writer.count}.custom_id: String should match pattern "
                    f"'^[a-zA-Z0-9_-]{{1,64}}$'"
                )
            ids.add(line.custom_id)
            digest = int.from_bytes(blake2b(line.params, digest_size=8).digest(), "little")
            try:
                params = _params_of(line.params)
            except UNREADABLE:
                writer.add(digest, _model_of(line), 0, 0)
                writer.refuse()
            else:
                writer.add(digest, params.model, *params.measure(params.question))
                if params.problem(self._version):
                    writer.refuse()
                elif MARK in raw:
                    writer.mark(bytes(raw), digest)
            self._lines.append(raw if b"\n" not in raw else raw.replace(b"\n", b" "))
            self.waiting_bytes += len(raw) + 1
        if writer.count > MAX_REQUESTS:
            raise _invalid(f"requests: List should have at most {MAX_REQUESTS} items")

    def store(self, file: BinaryIO) -> None:
        """Write the waiting requests as one block of lines."""
        file.write(b"\n".join((*self._lines, b"")))
        self._writer.end_block(self._offset, self.waiting_bytes)
        self._offset += self.waiting_bytes
        self._lines = []
        self.waiting_bytes = 0

    def check_whole(self) -> None:
        """Whole-body checks. Raises Refused."""
        if not self._writer.count:
            raise _invalid("requests: List should have at least 1 item after validation, not 0")
        if self._ids.repeated():
            raise _invalid("requests: custom_id must be unique for each request")

    def _look_closely(self, raw: bytearray) -> Refused:
        """What is wrong with a request that is not even a custom_id and params."""
        where = f"requests.{self._writer.count}"
        try:
            request: Any = msgspec.json.decode(raw)
        except UNREADABLE as error:
            return _invalid(f"The request body is not valid JSON: {error}")
        for name in ("custom_id", "params"):
            if name not in request:
                return _invalid(f"{where}.{name}: Field required")
        if not isinstance(request["custom_id"], str):
            return _invalid(f"{where}.custom_id: Input should be a valid string")
        extra = next(name for name in request if name not in ("custom_id", "params"))
        return _invalid(f"{where}.{extra}: Extra inputs are not permitted")


def _model_of(line: Line) -> str:
    """The model of a request that is wrong otherwise, for the bill."""
    try:
        return _named_of(line.params).model
    except UNREADABLE:
        return "unknown"
