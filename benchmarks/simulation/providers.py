"""Providers' servers, made up: their batches, limits and outages, behind the real adapters.

What is replaced is one HTTP exchange (core.providers.http.transport); adapters, retries, back-off
and Retry-After are the product's. Facts: OpenAI takes 2,000 creates an hour, and so many prompt
tokens enqueued for a model, which it checks seconds after the create; Anthropic counts the requests
in its queue, and refuses a create beyond.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from benchmarks.simulation.load import HOUR
from benchmarks.simulation.outages import Away, Outage
from benchmarks.simulation.virtual_time import MIDNIGHT
from core.providers.http.call_metrics import Broken, NotSent
from core.providers.http.transport import Reply
from core.providers.provider_errors import read_error

_LATENCY = 0.3
_BYTES_A_SECOND = 20e6
_PROGRESS_STEPS = 5
CLOCK_STEP = 1e-3
"""Moments are kept in microseconds by those who wait, and as floats here."""
_CREATES_WINDOW = HOUR


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one provider."""

    creates_an_hour: int = 2_000
    queued_lines: int = 0
    """In batches that have not ended; 0: any number."""
    enqueued_tokens: Mapping[str, int] = field(default_factory=dict)
    """By model."""


class Spool(NamedTuple):
    """What stands in the place of the requests in a file that is sent."""

    lines: int = 0
    size: int = 0
    model: str = ""
    first_line: str = ""

    def text(self) -> str:
        """As the file has it."""
        return json.dumps(self)

    @classmethod
    def of(cls, parts: Mapping[str, Any]) -> Spool:
        """That of a call, if it sends one."""
        if "files" in parts:
            return cls(*json.loads(parts["files"]["file"][1].read()))
        return cls(*json.loads(parts["spool"])) if "spool" in parts else cls()


@dataclass(slots=True)
class RemoteBatch:
    """A batch at a provider."""

    id: str
    lines: int
    tokens: int
    model: str
    created: float
    checked: float
    """When it begins to run; a limit of tokens is looked at then."""
    ends: float
    metadata: Mapping[str, str]
    first_line: str
    """The custom_id of one of its lines: by it Anthropic's batches are told apart."""
    failed: bool = False
    known: bool = False
    """Whether its check was concluded."""
    shown: tuple[tuple[object, ...], msgspec.Raw] = ((), msgspec.Raw(b""))
    """What it was shown as last, and by which state: lists show most as they were."""


class Server:
    """One provider, seen from outside."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        outages: Sequence[Outage],
        chance: random.Random,
    ) -> None:
        self.name = name
        self.limits = limits
        self.calls: Counter[tuple[int, str]] = Counter()
        """By hour and kind."""
        self.refusals: Counter[str] = Counter()
        self.in_flight: Counter[int] = Counter()
        """Batches that ran at a time, at the most, by hour."""
        self.away = [Away(outage) for outage in outages]
        self.early = 0
        """Calls that came while a Retry-After held."""
        self.batches: dict[str, RemoteBatch] = {}
        self._order: list[str] = []
        self._chance = chance
        self._files: dict[str, Spool] = {}
        self._creates: list[float] = []
        self._running: dict[str, RemoteBatch] = {}
        self._held_until = 0.0

    # What comes in.

    async def exchange(self, method: str, url: str, kind: str, **parts: Any) -> Reply:
        """One call."""
        moment = _now()
        path = urlsplit(url).path
        asked = _kind(kind, method, path)
        hour = int(moment // HOUR)
        self.calls[hour, asked] += 1
        self.in_flight[hour] = max(self.in_flight[hour], len(self._running))
        if moment < self._held_until - CLOCK_STEP:
            self.early += 1
        seen = [each.sees(moment, asked) for each in self.away]
        outage = self.away[seen.index(True)].outage if any(seen) else None
        spool = Spool.of(parts)
        await asyncio.sleep(
            _LATENCY * self._chance.uniform(0.5, 1.5) + spool.size / _BYTES_A_SECOND
        )
        if outage is not None:
            return self._away(outage, method, path, spool, parts)
        reply = self._answer(method, path, spool, parts)
        if self._chance.random() < 0.0005:
            # Now and then an answer is lost on its way.
            raise Broken("the connection was reset")
        return self._told(reply)

    def _told(self, reply: Reply) -> Reply:
        """It comes home: from now on it is known how long is to be waited."""
        if reply.retry_after:
            self._held_until = max(self._held_until, _now() + reply.retry_after)
        return reply

    def _away(self, outage: Outage, method: str, path: str, spool: Spool, parts: Any) -> Reply:
        self.refusals[outage.kind] += 1
        match outage.kind:
            case "unreachable":
                raise NotSent("connection refused")
            case "lost":
                self._answer(method, path, spool, parts)
                raise Broken("no answer in time")
            case "throttled":
                return self._told(_wait(120.0))
        return _reply({"error": {"message": "overloaded", "type": "overloaded_error"}}, 503)

    def _answer(self, method: str, path: str, spool: Spool, parts: Any) -> Reply:
        anthropic = "/messages/batches" in path
        asked = path.rpartition("/batches")[2].strip("/") if "/batches" in path else ""
        if method == "POST" and path.endswith("/files"):
            file_id = f"file-{len(self._files)}"
            self._files[file_id] = spool
            return _reply({"id": file_id, "object": "file", "status": "processed"})
        if path.endswith("/content"):
            return _reply({})
        if method == "DELETE":
            return _reply({"id": "file", "deleted": True})
        if method == "POST" and not asked:
            return self._create(spool, parts, anthropic=anthropic)
        if asked and asked not in self.batches:
            return _reply({"error": {"message": "no such batch"}}, 404)
        if asked:
            return _reply(self._show(self.batches[asked], anthropic=anthropic))
        return self._page(parts.get("params") or {}, anthropic=anthropic)

    # Batches.

    def _create(self, spool: Spool, parts: Any, *, anthropic: bool) -> Reply:
        moment = _now()
        self._creates = [each for each in self._creates if each > moment - _CREATES_WINDOW]
        if len(self._creates) >= self.limits.creates_an_hour:
            self.refusals["creates an hour"] += 1
            return _wait(max(self._creates[0] + _CREATES_WINDOW - moment, 1.0))
        metadata: Mapping[str, str] = {}
        if not anthropic:
            wanted = json.loads(parts["content"])
            spool, metadata = self._files[wanted["input_file_id"]], wanted["metadata"]
        lines = spool.lines
        if self.limits.queued_lines and self._queued + lines > self.limits.queued_lines:
            self.refusals["requests in the queue"] += 1
            return _wait(60.0)
        self._creates.append(moment)
        remote_id = f"{self.name}_{len(self._order)}"
        checked = moment + self._chance.uniform(3.0, 15.0)
        runs = self._chance.lognormvariate(7.0, 0.8) + lines / 40.0
        batch = RemoteBatch(
            id=remote_id,
            lines=lines,
            tokens=spool.size // 4,
            model=spool.model,
            created=moment,
            checked=checked,
            ends=checked + runs,
            metadata=metadata,
            first_line=spool.first_line,
        )
        self.batches[remote_id] = self._running[remote_id] = batch
        self._order.append(remote_id)
        return _reply(self._show(batch, anthropic=anthropic))

    @property
    def _queued(self) -> int:
        moment = _now()
        for remote_id in [each.id for each in self._running.values() if each.ends <= moment]:
            self._conclude_check(self._running.pop(remote_id))
        return sum(each.lines for each in self._running.values())

    def _conclude_check(self, batch: RemoteBatch) -> None:
        """Whether its tokens fitted beside those that were enqueued before it."""
        if batch.known:
            return
        batch.known = True
        limit = self.limits.enqueued_tokens.get(batch.model)
        if limit is None:
            return
        moment = batch.checked
        for other in [*self._running.values()]:
            if other.checked < moment and not other.known:
                self._conclude_check(other)
        beside = sum(
            other.tokens
            for other in self._running.values()
            if other.model == batch.model
            and other.id != batch.id
            and other.checked <= moment < other.ends
            and not other.failed
        )
        if beside + batch.tokens > limit:
            batch.failed = True
            self.refusals["enqueued tokens"] += 1
            self._running.pop(batch.id, None)

    def _show(self, batch: RemoteBatch, *, anthropic: bool) -> msgspec.Raw:
        moment = _now()
        if moment >= batch.checked:
            self._conclude_check(batch)
        ended = moment >= batch.ends
        if ended:
            self._running.pop(batch.id, None)
        share = min((moment - batch.checked) / (batch.ends - batch.checked), 1.0)
        step = -1 if share < 0 else int(share * _PROGRESS_STEPS)
        state = (step, batch.failed, ended)
        if batch.shown[0] != state:
            form = self._as_anthropic if anthropic else self._as_openai
            batch.shown = state, msgspec.Raw(msgspec.json.encode(form(batch, step, ended=ended)))
        return batch.shown[1]

    def _as_anthropic(self, batch: RemoteBatch, _step: int, *, ended: bool) -> Mapping[str, Any]:
        return {
            "id": batch.id,
            "processing_status": "ended" if ended else "in_progress",
            "created_at": _date(batch.created).isoformat(),
            "ended_at": _date(batch.ends).isoformat() if ended else None,
            "request_counts": {"succeeded" if ended else "processing": batch.lines},
            "results_url": None,
        }

    def _as_openai(self, batch: RemoteBatch, step: int, *, ended: bool) -> Mapping[str, Any]:
        completed = max(step, 0) * batch.lines // _PROGRESS_STEPS
        status = "validating" if step < 0 else "in_progress"
        shown: dict[str, Any] = {
            "id": batch.id,
            "object": "batch",
            "status": "completed" if ended else status,
            "created_at": int(_date(batch.created).timestamp()),
            "request_counts": {"total": batch.lines, "completed": completed, "failed": 0},
            "metadata": batch.metadata,
        }
        if batch.failed:
            limit = self.limits.enqueued_tokens[batch.model]
            message = (
                f"Enqueued token limit reached for {batch.model} in organization org-simulated. "
                f"Limit: {limit:,} enqueued tokens. Please try again later."
            )
            error = {"code": "token_limit_exceeded", "message": message}
            shown |= {"status": "failed", "errors": {"object": "list", "data": [error]}}
            shown["request_counts"] = {"total": 0, "completed": 0, "failed": 0}
        elif ended:
            shown |= {
                "output_file_id": f"out-{batch.id}",
                "completed_at": int(_date(batch.ends).timestamp()),
            }
        return shown

    def _page(self, params: Mapping[str, Any], *, anthropic: bool) -> Reply:
        after = params.get("after", params.get("after_id"))
        # Ids count up; the newest is first.
        end = int(after.rpartition("_")[2]) if after else len(self._order)
        start = max(end - int(params.get("limit", 20)), 0)
        ids = self._order[start:end][::-1]
        data = [self._show(self.batches[each], anthropic=anthropic) for each in ids]
        return _reply({"data": data, "has_more": start > 0, "last_id": ids[-1] if ids else None})


class SimulatedTransport:
    """In the place of core.providers.http.transport.Transport."""

    servers: Mapping[str, Server] = {}

    def __init__(self, _headers: Mapping[str, str], *, provider: str, **_options: Any) -> None:
        self._server = self.servers[provider]
        self.ahead = 0.0

    async def close(self) -> None:
        """Nothing is open."""

    async def send(self, method: str, url: str, *, kind: str, **parts: Any) -> Reply:
        return await self._server.exchange(method, url, kind, **parts)

    async def send_file(self, url: str, file: Path, *, kind: str, **parts: Any) -> Reply:
        spool = await asyncio.to_thread(file.read_text)
        return await self._server.exchange("POST", url, kind, spool=spool)

    @asynccontextmanager
    async def stream(self, url: str) -> AsyncIterator[Reply | AsyncIterator[bytes]]:
        reply = await self._server.exchange("GET", url + "/content", "download")
        asked = self._server.batches.get(urlsplit(url).path.split("/")[-2])
        yield _first_line(asked) if reply.ok else reply


async def _first_line(batch: RemoteBatch | None) -> AsyncIterator[bytes]:
    """Enough to tell whose results these are: what is simulated is when they come."""
    if batch is not None:
        error = {"type": "invalid_request_error", "message": "not simulated"}
        result = {"type": "errored", "error": {"type": "error", "error": error}}
        yield json.dumps({"custom_id": batch.first_line, "result": result}).encode() + b"\n"


def _kind(kind: str, method: str, path: str) -> str:
    if kind == "read" and path.endswith("/batches"):
        return "list page"
    return "look" if kind == "read" and "/batches/" in path else kind


def _reply(body: object, status: int = 200, retry_after: float | None = None) -> Reply:
    content = msgspec.json.encode(body)
    error = read_error(b"" if status < 300 else content)
    return Reply(status, content, {}, error, retry_after)


def _wait(seconds: float) -> Reply:
    """Retry-After."""
    error = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    return _reply(error, 429, seconds)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _date(seconds: float) -> datetime:
    return (MIDNIGHT + timedelta(seconds=seconds)).astimezone(UTC)
