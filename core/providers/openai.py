"""OpenAI's Batch API: files and batches.

Facts: openai-openapi openapi.yaml (2026-08-21), the openai package 3.54, the Batch guide.
What decides about money: `POST /batches` has no idempotency key, so it is sent once; the
metadata and the file name carry our shard and attempt, so that a batch is found again.
"""

from __future__ import annotations

import re
import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import structlog

from core.providers.catalogue import find_model
from core.providers.contract import (
    Absent,
    Accepted,
    BadLine,
    FindOutcome,
    Found,
    Framing,
    Intent,
    Limits,
    LineRejected,
    ProviderRejected,
    ProviderUnavailable,
    Refused,
    RemoteBatch,
    RemoteState,
    ResultLine,
    SubmitOutcome,
    Unknown,
    Unsure,
)
from core.providers.http import PASSING_CODES, ProviderHttp, is_passing
from core.providers.openai_rows import read_row
from core.providers.resultlines import read_results

log = structlog.get_logger()

LIMITS = Limits(
    max_lines=50_000,
    # "200 MB": the smaller reading, so that no file is refused for its size.
    max_bytes=200_000_000,
    one_model_per_batch=True,
    endpoints=frozenset({"/v1/chat/completions", "/v1/embeddings"}),
    max_embedding_inputs=50_000,
)

INPUT_FILE_SECONDS = 7 * 86400
"""How long OpenAI keeps an uploaded input: past any batch's end, and orphans do go away."""

SHARD_KEY = "polybatch_shard"
TOKEN_KEY = "polybatch_token"

PAGE = 100

TRUE = msgspec.Raw(b"true")
FALSE = msgspec.Raw(b"false")

_STATES = {
    "validating": (RemoteState.RUNNING, ""),
    "in_progress": (RemoteState.RUNNING, ""),
    "finalizing": (RemoteState.RUNNING, ""),
    "cancelling": (RemoteState.STOPPING, ""),
    "completed": (RemoteState.ENDED, "completed"),
    "expired": (RemoteState.ENDED, "expired"),
    "cancelled": (RemoteState.ENDED, "cancelled"),
    "failed": (RemoteState.FAILED, ""),
}


class _File(msgspec.Struct):
    id: str
    filename: str | None = None
    created_at: int = 0


class _Counts(msgspec.Struct):
    total: int | None = 0
    completed: int | None = 0
    failed: int | None = 0


class _BatchError(msgspec.Struct):
    code: str | None = None
    message: str | None = None
    param: str | None = None
    line: int | None = None


class _BatchErrors(msgspec.Struct):
    data: list[_BatchError] | None = None


class _Batch(msgspec.Struct):
    id: str
    status: str
    created_at: int = 0
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    completed_at: int | None = None
    expired_at: int | None = None
    cancelled_at: int | None = None
    request_counts: _Counts | None = None
    errors: _BatchErrors | None = None
    metadata: dict[str, Any] | None = None


class _Page(msgspec.Struct):
    data: list[_Batch]
    has_more: bool = False


class _FilePage(msgspec.Struct):
    data: list[_File]
    has_more: bool = False


class _StreamFlag(msgspec.Struct):
    stream: msgspec.Raw = FALSE


class _EmbeddingBody(msgspec.Struct):
    input: str | list[msgspec.Raw]


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_stream = msgspec.json.Decoder(_StreamFlag)
_embedding_body = msgspec.json.Decoder(_EmbeddingBody)
_encoder = msgspec.json.Encoder()


class OpenAIProvider:
    """OpenAI, or a server with the same files and batches, with one key."""

    name = "openai"
    limits = LIMITS
    framing = Framing(prefix=b"", separator=b"\n", suffix=b"\n")

    def __init__(
        self,
        http: ProviderHttp,
        *,
        settle: timedelta,
        clock_margin: timedelta = timedelta(minutes=5),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`settle`: how long absence is doubted; `clock_margin`: for clocks that differ."""
        self._http = http
        self._settle = settle
        self._margin = clock_margin
        self._now = now

    def remote_model(self, model: str) -> str:
        """The provider's id of the user's model ("openai/gpt-4.1" -> "gpt-4.1")."""
        return find_model(self.name, model).id

    def encode_line(self, custom_id: str, url: str, model: str, body: bytes) -> bytes:
        """Put one request into OpenAI's form: other ids, other model, the rest as it came.

        Raises LineRejected for what would make OpenAI refuse the whole file.
        """
        if url not in self.limits.endpoints:
            raise LineRejected("url", "unsupported_endpoint", f"OpenAI batches have no {url}.")
        try:
            fields = _fields.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LineRejected("body", "invalid_json", f"The body is unreadable: {error}") from None
        _refuse_streaming(fields.get("stream", FALSE))
        fields["model"] = msgspec.Raw(_encoder.encode(self.remote_model(model)))
        return b'{"custom_id":"%b","method":"POST","url":"%b","body":%b}' % (
            custom_id.encode(),
            url.encode(),
            _encoder.encode(fields),
        )

    async def submit(self, intent: Intent, spool: Path) -> SubmitOutcome:
        """Upload the spool and create the batch. Never repeats the create by itself."""
        deadline = self._http.deadline()
        fields = {
            "purpose": "batch",
            "expires_after[anchor]": "created_at",
            "expires_after[seconds]": str(INPUT_FILE_SECONDS),
        }
        # A file without a batch costs nothing: until the create, all may be repeated.
        try:
            async with asyncio.timeout_at(deadline):
                file = await self._http.upload("/files", fields, _filename(intent), spool, _File)
        except TimeoutError:
            return Refused("upload_too_slow", "The upload took too long.", passing=True)
        except ProviderUnavailable as error:
            return Refused("upload_failed", str(error), passing=True, retry_after=error.retry_after)
        except ProviderRejected as error:
            passing = is_passing(error.status, error.code)
            return Refused(error.code, error.message, passing)
        outcome = await self._http.create(
            "/batches", self._creation(intent, file), deadline=deadline
        )
        if isinstance(outcome, Refused):
            await self._discard_quietly(file.id, deadline)
            return outcome
        if isinstance(outcome, Unknown):
            return outcome
        try:
            return Accepted(msgspec.json.decode(outcome, type=_Batch).id, file.id)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Unknown("POST /batches: accepted, but the answer names no batch")

    def _creation(self, intent: Intent, file: _File) -> bytes:
        return _encoder.encode(
            {
                "input_file_id": file.id,
                "endpoint": intent.endpoint,
                "completion_window": "24h",
                "metadata": {SHARD_KEY: intent.shard_id, TOKEN_KEY: intent.token},
            }
        )

    async def find(
        self, intent: Intent, known: frozenset[str], *, quiet_since: datetime | None = None
    ) -> FindOutcome:
        """Ask whether the batch of an intent exists, by its metadata."""
        asked_at = self._now()
        oldest = intent.intended_at - self._margin
        async for batch in self._batches(oldest):
            metadata = batch.metadata or {}
            ours = (metadata.get(SHARD_KEY), metadata.get(TOKEN_KEY))
            if ours == (intent.shard_id, intent.token):
                return Found(batch.id, batch.input_file_id or "")
        quiet = quiet_since or intent.intended_at + timedelta(seconds=self._http.timeout)
        wait = (quiet + self._settle - asked_at).total_seconds()
        if wait > 0:
            return Unsure("No batch of this intent yet; it may still show.", retry_after=wait)
        await self._discard_orphans(intent, oldest)
        return Absent()

    async def _batches(self, oldest: datetime) -> AsyncGenerator[_Batch, None]:
        """All batches from `oldest` on, and perhaps older ones.

        The newest come first, as observed; but nothing promises it, so the scan stops
        early only after a page that is in that order itself.
        """
        params: dict[str, str | int] = {"limit": PAGE}
        while True:
            page = await self._http.call("GET", "/batches", _Page, params=params)
            for batch in page.data:
                yield batch
            if not page.has_more or not page.data or params.get("after") == page.data[-1].id:
                return
            if _past([batch.created_at for batch in page.data], oldest):
                return
            params["after"] = page.data[-1].id

    async def _discard_orphans(self, intent: Intent, oldest: datetime) -> None:
        """Delete the uploads of a submission that created no batch."""
        name = _filename(intent)
        params: dict[str, str | int] = {"purpose": "batch", "order": "desc", "limit": PAGE}
        try:
            while True:
                page = await self._http.call("GET", "/files", _FilePage, params=params)
                for file in page.data:
                    if file.filename == name:
                        await self.discard(file.id)
                if not page.has_more or not page.data or params.get("after") == page.data[-1].id:
                    return
                if page.data[-1].created_at < oldest.timestamp():
                    return
                params["after"] = page.data[-1].id
        except (ProviderUnavailable, ProviderRejected) as error:
            # They expire by themselves; the answer to the caller does not hang on them.
            log.info("orphan_search_failed", shard_id=intent.shard_id, error=str(error))

    async def poll(self, remote_id: str) -> RemoteBatch:
        """Ask how the batch stands. Raises ProviderUnavailable, ProviderRejected."""
        batch = await self._http.call("GET", f"/batches/{quote(remote_id, safe='')}", _Batch)
        if batch.status not in _STATES:
            log.warning("unknown_remote_status", remote_id=remote_id, status=batch.status)
        state, ended_as = _STATES.get(batch.status, (RemoteState.RUNNING, ""))
        counts = batch.request_counts or _Counts()
        ended = batch.completed_at or batch.expired_at or batch.cancelled_at
        return RemoteBatch(
            remote_id=batch.id,
            state=state,
            native_status=batch.status,
            total=counts.total or 0,
            finished=(counts.completed or 0) + (counts.failed or 0),
            result_sources=tuple(i for i in (batch.output_file_id, batch.error_file_id) if i),
            refusal=_refusal(batch) if state is RemoteState.FAILED else None,
            ended_as=ended_as,
            ended_at=datetime.fromtimestamp(ended, UTC) if ended else None,
        )

    async def results(self, batch: RemoteBatch) -> AsyncGenerator[Sequence[ResultLine], None]:
        """Stream the rows of the output file, then of the error file."""
        for source in batch.result_sources:
            path = f"/files/{quote(source, safe='')}/content"
            async with aclosing(self._http.download(path)) as chunks:
                async for group in read_results(chunks, read_row, source=source):
                    yield group

    async def cancel(self, remote_id: str) -> None:
        """Ask for the end. No error when it has ended already."""
        try:
            await self._http.call("POST", f"/batches/{quote(remote_id, safe='')}/cancel", _Batch)
        except ProviderRejected:
            batch = await self.poll(remote_id)
            if batch.state is RemoteState.RUNNING:
                raise

    async def discard(self, remote_file_id: str) -> None:
        """Delete an uploaded input file; never raises for absence."""
        try:
            path = f"/files/{quote(remote_file_id, safe='')}"
            await self._http.call("DELETE", path, msgspec.Raw)
        except ProviderRejected as error:
            if error.status != 404:
                raise

    async def _discard_quietly(self, file_id: str, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self.discard(file_id)
        except (ProviderUnavailable, ProviderRejected, TimeoutError) as error:
            # It expires by itself; the refusal is what the caller has to hear.
            log.info("orphan_not_deleted", remote_file_id=file_id, error=str(error))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def check_body(body: bytes | msgspec.Raw) -> None:
    """Raise LineRejected for a body for whose sake OpenAI would refuse the whole file."""
    try:
        stream = _stream.decode(body).stream
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LineRejected("body", "invalid_json", f"The body is unreadable: {error}") from None
    _refuse_streaming(stream)


def _refuse_streaming(stream: msgspec.Raw) -> None:
    if stream == TRUE:
        raise LineRejected(
            "body.stream", "unsupported_parameter", "Batches do not stream: leave out stream."
        )


def embedding_inputs(body: bytes) -> int:
    """How many inputs an embeddings request holds; towards Limits.max_embedding_inputs."""
    try:
        given = _embedding_body.decode(body).input
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 1
    if not isinstance(given, list):
        return 1
    # A list of numbers is one input, given as tokens.
    return 1 if given and bytes(given[0])[:1].isdigit() else len(given)


def _filename(intent: Intent) -> str:
    return f"pb-{intent.shard_id}-{intent.token}.jsonl"


def _past(created: list[int], oldest: datetime) -> bool:
    """Whether a page runs from new to old and has come to before `oldest`."""
    newest_first = created == sorted(created, reverse=True) and created[0] > created[-1]
    return newest_first and created[-1] < oldest.timestamp()


def _stated_limit(message: str) -> int | None:
    """The limit in "... Limit: 90,000 enqueued tokens. ..."."""
    found = re.search(r"[Ll]imit:? *([\d,]+) +enqueued tokens", message)
    return int(found[1].replace(",", "")) if found else None


def _refusal(batch: _Batch) -> Refused:
    errors = (batch.errors.data if batch.errors else None) or [_BatchError()]
    codes = [error.code or "failed" for error in errors]
    told = []
    for code, error in zip(codes, errors, strict=True):
        where = f" at line {error.line}" if error.line is not None else ""
        field = f" ({error.param})" if error.param else ""
        told.append(f"{code}{where}{field}: {error.message or 'no message'}")
    return Refused(
        code=codes[0],
        message="; ".join(told[:20])[:2000],
        passing=all(code in PASSING_CODES for code in codes),
        enqueued_token_limit=_stated_limit(errors[0].message or ""),
        bad_lines=tuple(
            BadLine(error.line, code, error.param or "", error.message or "")
            for code, error in zip(codes, errors, strict=True)
            if error.line is not None
        ),
    )
