"""List polling: where many batches run at a provider, its list is read instead of a call for each.

Whoever handles a shard that is due claims all that runs beside it, in the ledger, and looks at
all of it. What the list does not show is looked at singly, a few at a time, so that a batch that
the provider no longer knows is still noticed.

In: a shard that is due. Out: what the list says of all that run beside it, in the ledger. What can
go wrong: the list is refused, unreadable or shows too little (single looks for a while), or another
replica has taken them (nothing to do).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from polybatch.v1.events_pb2 import BatchEvent

from core.ledger import Batch, InFlight, ProviderLoad, Shard, ShardState
from core.pipeline import Runtime, next_look, poll_times
from core.providers import (
    Provider,
    ProviderRejected,
    ProviderUnavailable,
    Registry,
    RemoteBatch,
    RemoteState,
)

log = structlog.get_logger()

FEWEST = 5
"""Batches at a provider for which a list is read at all."""
_MOST = 5_000
_PARALLEL = 8
# How long an unproductive list is left alone; doubled each time.
_BARREN_INTERVALS = 12
_BARREN_MOST = 3600.0
_KEY_REFUSED = frozenset({401, 403})
_HURRY = 0.1


class Looks(Protocol):
    """What is done with one shard, by a poll of its own or by what the list says of it."""

    async def poll(self, shard: Shard) -> float | None:
        """Ask the provider once."""
        ...

    async def conclude(
        self,
        shard: Shard,
        provider: Provider,
        remote: RemoteBatch,
        next_poll: datetime | None = None,
    ) -> float | None:
        """Do what an answer asks for."""
        ...


@dataclass(slots=True)
class _Seen:
    """What this process knows of one provider's list."""

    pages: int = 0
    """That the latest reading had; 0: there was none."""
    barren: int = 0
    """Readings in a row that showed less than they cost."""
    barren_until: datetime | None = None
    running: bool = False
    gap: float = 0.0
    """Between two looks at a batch that is looked at singly, at the least."""


class ListPoller:
    """Looks at many batches at once."""

    def __init__(
        self,
        runtime: Runtime,
        providers: Registry,
        credentials: Mapping[str, str],
        looks: Looks,
        clock: Callable[[], datetime],
    ) -> None:
        """`credentials`: KnownProviders.credentials."""
        self._ledger = runtime.ledger
        self._publisher = runtime.publisher
        self._settings = runtime.settings
        self._providers = providers
        self._credentials = credentials
        self._looks = looks
        self._now = clock
        self._seen: dict[str, _Seen] = {}

    def gap(self, provider: str) -> float:
        """Seconds between two single looks at a batch, at the least, as many as there are."""
        return self._of(provider).gap

    def lag(self, shard: Shard) -> float:
        """Seconds by which a shard may wake later than it is due.

        Those that one list showed are due at the same moment: the first to wake sees to all.
        """
        if not self._of(shard.provider).pages:
            return 0.0
        return poll_times.spread(shard.id) * self._settings.poll_min_interval

    async def take(self, shard: Shard) -> float | None:
        """Look at all that runs beside a shard that is due.

        Returns seconds until it is due again; None where it has to be looked at singly.
        """
        provider = self._providers.get(shard.provider)
        own = self._credentials.get(shard.provider, shard.credential)
        if provider is None or shard.given_up_at is not None or shard.credential not in ("", own):
            return None
        seen = self._of(shard.provider)
        if seen.running:
            # It was taken, or came too late for it and is seen to when that has ended.
            return self._settings.poll_min_interval
        # It may have woken a little early: then those of its time are due as well.
        moment = max(self._now(), shard.due_at)
        credentials = ("", own)
        load = await self._measure(shard, credentials, seen, moment)
        if not self._worthwhile(load, seen, moment):
            return await self._taken(shard) if self._planned(load, seen) else None
        seen.running = True
        try:
            return await self._read_list(shard, provider, credentials, seen)
        finally:
            seen.running = False

    async def _taken(self, shard: Shard) -> float | None:
        """Seconds until a shard is due, if another replica has just claimed it."""
        found = await self._ledger.shards.get(shard.id)
        if found is None or found.due_at == shard.due_at:
            return None
        return max((found.due_at - self._now()).total_seconds(), 0.0)

    def _of(self, provider: str) -> _Seen:
        return self._seen.setdefault(provider, _Seen())

    async def _measure(
        self, shard: Shard, credentials: Sequence[str], seen: _Seen, moment: datetime
    ) -> ProviderLoad:
        """Count, and settle how far apart single looks have to be."""
        settings = self._settings
        gap = poll_times.list_gap(seen.pages, settings)
        window = timedelta(seconds=max(gap, settings.poll_max_interval))
        load = await self._ledger.list_polls.load(
            shard.provider, credentials, moment, moment + window
        )
        seen.pages = seen.pages or poll_times.pages_of(load.total)
        seen.gap = 0.0
        if load.total >= FEWEST:
            planned = self._planned(load, seen)
            seen.gap = poll_times.single_gap(load.total - planned * load.gathered, settings)
            if planned:
                # The list will show it.
                seen.gap = max(seen.gap, poll_times.list_gap(seen.pages, settings))
        return load

    def _planned(self, load: ProviderLoad, seen: _Seen) -> bool:
        """Whether a reading is about to come: the one before has made many due at one time."""
        return load.gathered >= max(FEWEST, 2 * seen.pages)

    def _worthwhile(self, load: ProviderLoad, seen: _Seen, moment: datetime) -> bool:
        if load.total < FEWEST or load.total <= seen.pages:
            return False
        if seen.barren_until is not None and moment < seen.barren_until:
            return False
        return not self._planned(load, seen) or load.due > seen.pages

    async def _read_list(
        self, shard: Shard, provider: Provider, credentials: Sequence[str], seen: _Seen
    ) -> float | None:
        begun = self._now()
        pause = max(
            poll_times.list_gap(seen.pages, self._settings),
            next_look(shard.id, self._age(shard), self._settings),
        )
        until = begun + timedelta(seconds=pause)
        claimed = await self._ledger.list_polls.claim(shard, credentials, until, _MOST)
        if claimed is None:
            # Another replica has; when it is due now stands in the ledger.
            return self._settings.poll_min_interval
        found: Mapping[str, RemoteBatch] = {}
        oldest = min(each.submitted_at or begun for each in claimed)
        gap = poll_times.call_gap(self._settings)
        try:
            listed = await provider.poll_many([each.remote_id for each in claimed], oldest)
        except ProviderRejected as error:
            log.warning("list_refused", provider=provider.name, code=error.code)
            self._barren(seen)
            if error.status in _KEY_REFUSED:
                # Each batch has to say so, and some end for it: none waits for its turn long.
                gap = _HURRY * self._settings.poll_min_interval
        except ProviderUnavailable as error:
            return await self._without_list(shard, provider, seen, claimed, until, error)
        else:
            found, seen.pages = listed.batches, listed.pages
            log.debug(
                "polled_by_list",
                provider=provider.name,
                batches=len(claimed),
                found=len(found),
                pages=listed.pages,
            )
            if len(found) < max(listed.pages, 1):
                self._barren(seen)
            else:
                seen.barren, seen.barren_until = 0, None
        missing = [each for each in claimed if each.remote_id not in found]
        await self._put_off(shard, missing, begun, until, gap)
        await self._each(
            (each for each in claimed if each.remote_id in found),
            lambda each: self._see(each, provider, found[each.remote_id], until),
        )
        if shard.remote_id not in found:
            return await self._looks.poll(shard)
        return (until - self._now()).total_seconds()

    def _barren(self, seen: _Seen) -> None:
        """Read the list no more for a while."""
        pause = _BARREN_INTERVALS * self._settings.poll_min_interval * 2**seen.barren
        seen.barren_until = self._now() + timedelta(seconds=min(pause, _BARREN_MOST))
        seen.barren = min(seen.barren + 1, 10)

    async def _put_off(
        self,
        shard: Shard,
        missing: Sequence[InFlight],
        begun: datetime,
        until: datetime,
        gap: float,
    ) -> None:
        """Give those that the list did not show times of their own, one after the other."""
        due: dict[str, datetime] = {}
        wait = 0.0
        for each in missing:
            if each.id == shard.id:
                continue
            if each.due_at <= begun:
                wait = min(wait + gap, poll_times.LONGEST)
                due[each.id] = begun + timedelta(seconds=wait)
            else:
                due[each.id] = each.due_at
        if due:
            await self._ledger.list_polls.put_off(due, until)

    async def _see(
        self, each: InFlight, provider: Provider, remote: RemoteBatch, until: datetime
    ) -> None:
        """Do what the list says of one batch; nothing for most."""
        running = remote.state in (RemoteState.RUNNING, RemoteState.STOPPING)
        finished = max(each.finished, min(remote.finished, each.line_count))
        known = (each.remote_status, each.finished, "")
        if running and (remote.native_status, finished, each.waiting_reason) == known:
            return
        shard = await self._ledger.shards.get(each.id)
        if shard is None or shard.state != ShardState.SUBMITTED:
            return
        if shard.remote_id != each.remote_id:
            return
        if remote.state is RemoteState.FAILED:
            # It says why, which decides whether the lines are sent again: to be read in full.
            await self._looks.poll(shard)
        else:
            await self._looks.conclude(shard, provider, remote, until)

    async def _without_list(
        self,
        shard: Shard,
        provider: Provider,
        seen: _Seen,
        claimed: Sequence[InFlight],
        until: datetime,
        error: ProviderUnavailable,
    ) -> float | None:
        """The list cannot be read: is it the provider that is away, or the list alone?"""
        remote = await self._single(shard, provider) if error.retry_after is None else None
        if remote is not None:
            log.warning("list_unreadable", provider=provider.name, cause=str(error))
            self._barren(seen)
            gap = poll_times.call_gap(self._settings)
            await self._put_off(shard, claimed, self._now(), until, gap)
            return await self._looks.conclude(shard, provider, remote)
        now = self._now()
        later = max(until, now + timedelta(seconds=error.retry_after or 0.0))
        if later > until:
            await self._ledger.list_polls.put_off({each.id: later for each in claimed}, until)
        reason = f"{shard.provider}: {error}"
        # Those that have said so once need not say it again with each try.
        await self._each(
            (each for each in claimed if not each.waiting_reason),
            lambda each: self._tell(each, reason, later),
        )
        return (later - now).total_seconds()

    async def _single(self, shard: Shard, provider: Provider) -> RemoteBatch | None:
        try:
            return await provider.poll(shard.remote_id)
        except (ProviderUnavailable, ProviderRejected):
            return None

    async def _tell(self, each: InFlight, reason: str, until: datetime) -> None:
        shard = await self._ledger.shards.get(each.id)
        if shard is None or shard.state != ShardState.SUBMITTED:
            return
        batch = await self._ledger.shards.unreachable(shard, reason, until)
        if isinstance(batch, Batch):
            log.warning("poll_waits", batch_id=shard.batch_id, shard_id=shard.id, cause=reason)
            await self._publisher.changed(batch, BatchEvent.SHARD_WAITING, shard)

    async def _each(
        self, some: Iterable[InFlight], see: Callable[[InFlight], Awaitable[None]]
    ) -> None:
        """Do it for each, a few at a time."""
        rest = iter(some)

        async def worker() -> None:
            for each in rest:
                await see(each)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(_PARALLEL):
                tasks.create_task(worker())

    def _age(self, shard: Shard) -> float:
        return (self._now() - (shard.submitted_at or shard.created_at)).total_seconds()
