"""What the cases have in common: adapters that are closed, shards, patience, a look at logs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from structlog.testing import capture_logs

from core.providers.conformance.stand import Fate, Stand
from core.providers.contract import Accepted, Intent, Provider, RemoteBatch, RemoteState, ResultLine

CHAT = "/v1/chat/completions"
PATIENCE = 20.0
"""Seconds after which a case no longer waits for what must come."""
_BETWEEN_POLLS = 0.01


class Nonconformity(AssertionError):
    """The adapter does not do what the contract says."""


def check(holds: bool, message: str) -> None:
    """Raise Nonconformity unless it holds."""
    if not holds:
        raise Nonconformity(message)


@dataclass(frozen=True, slots=True)
class Shard:
    """A spool as the dispatcher would write it."""

    intent: Intent
    spool: Path
    words: Mapping[str, str]
    """Custom id to the words that its answer must repeat."""


class Bench:
    """One case's adapters and shards. `folder` is empty, or holds nothing of names used here."""

    def __init__(self, stand: Stand, folder: Path) -> None:
        self.stand = stand
        self._folder = folder
        self._shards = 0
        self._closing = AsyncExitStack()

    def open(self, *, timeout: float = 10.0, settle: float = 0.0) -> Provider:
        """A new adapter; closed at the end of the case."""
        provider = self.stand.open(timeout=timeout, settle=settle)
        self._closing.push_async_callback(provider.close)
        return provider

    def shard(self, provider: Provider, *, lines: int = 3, fates: Sequence[Fate] = ()) -> Shard:
        """Encode requests; those beyond `fates` succeed."""
        self._shards += 1
        name, token = f"shard_{self._shards:020d}", f"t{self._shards}x7"
        words: dict[str, str] = {}
        encoded: list[bytes] = []
        for line in range(1, lines + 1):
            fate = fates[line - 1] if line <= len(fates) else Fate.SUCCEEDS
            custom_id = f"{name}-{token}-{line}"
            words[custom_id] = f"{name} asks in line {line}"
            content = self.stand.text(words[custom_id], fate)
            body = {
                "model": self.stand.model,
                "messages": [{"role": "user", "content": content}],
                "max_tokens": 1000,
            }
            raw = json.dumps(body).encode()
            request, dropped = provider.encode_line(custom_id, CHAT, self.stand.model, raw)
            check(not dropped, f"a plain request loses something: {dropped}")
            encoded.append(request)
        framing = provider.framing
        spooled = framing.prefix + framing.separator.join(encoded) + framing.suffix
        spool = self._folder / f"{name}.spool"
        spool.write_bytes(spooled)
        intent = Intent(
            shard_id=name,
            token=token,
            endpoint=CHAT,
            model=provider.remote_model(self.stand.model),
            line_count=lines,
            size=len(spooled),
            sha256=hashlib.sha256(spooled).hexdigest(),
            intended_at=datetime.now(UTC),
        )
        for line, custom_id in enumerate(words, 1):
            check(intent.custom_id(line) == custom_id, "the intent makes other custom ids")
        return Shard(intent, spool, words)

    async def accepted(self, provider: Provider, shard: Shard) -> Accepted:
        """Submit what must be accepted."""
        outcome = await provider.submit(shard.intent, shard.spool)
        check(isinstance(outcome, Accepted), f"expected Accepted, got {outcome}")
        assert isinstance(outcome, Accepted)
        check(bool(outcome.remote_id), "an accepted batch has no id")
        return outcome

    async def until(
        self, provider: Provider, remote_id: str, wanted: Callable[[RemoteBatch], bool]
    ) -> RemoteBatch:
        """Poll until the batch is as wanted."""
        batch = await provider.poll(remote_id)
        try:
            async with asyncio.timeout(PATIENCE):
                while not wanted(batch):
                    await asyncio.sleep(_BETWEEN_POLLS)
                    batch = await provider.poll(remote_id)
        except TimeoutError:
            raise Nonconformity(f"the batch stays as it is: {batch}") from None
        return batch

    async def ended(self, provider: Provider, remote_id: str) -> RemoteBatch:
        """Poll until the batch has ended, with results to be fetched."""
        final = (RemoteState.ENDED, RemoteState.FAILED)
        batch = await self.until(provider, remote_id, lambda batch: batch.state in final)
        check(batch.state is RemoteState.ENDED, f"expected the batch to end, got {batch}")
        return batch

    async def read(self, provider: Provider, batch: RemoteBatch) -> list[ResultLine]:
        """All result lines."""
        found: list[ResultLine] = []
        async with aclosing(provider.results(batch)) as groups:
            async for group in groups:
                found.extend(group)
        return found

    async def close(self) -> None:
        """Close the adapters."""
        await self._closing.aclose()


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@asynccontextmanager
async def bench(stand: Stand, folder: Path) -> AsyncIterator[Bench]:
    """A bench for one case. Raises Nonconformity at the end if a log names the key."""
    made = Bench(stand, folder)
    kept = _Kept()
    root = logging.getLogger()
    root.addHandler(kept)
    try:
        with capture_logs() as events:
            yield made
            await made.close()
    finally:
        root.removeHandler(kept)
        await made.close()
    for said in (*kept.texts, *(repr(event) for event in events)):
        check(stand.key not in said, "the log names the key")
