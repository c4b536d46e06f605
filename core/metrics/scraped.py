"""Gauges that are not counted in memory but asked for at each scrape."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import structlog
from prometheus_client import REGISTRY, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Family:
    """A gauge's name, meaning and labels."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a family; `labels` in the family's order."""

    labels: tuple[str, ...]
    value: float


Readings: TypeAlias = Mapping[Family, Sequence[Reading]]


class AskedAtScrape(Collector):
    """Gauges whose values `ask` gives, run in the event loop that `start` was called in.

    When `ask` fails or takes longer than `timeout` seconds the gauges are left out, so
    that no old value is taken for a new one; `up` says so, as 0 or 1. Answers are kept
    for `keep` seconds: several Prometheus servers ask no more than one does.
    """

    def __init__(
        self,
        up: Family,
        families: Sequence[Family],
        ask: Callable[[], Awaitable[Readings]],
        *,
        timeout: float = 5.0,
        keep: float = 1.0,
    ) -> None:
        self._up = up
        self._families = families
        self._ask = ask
        self._timeout = timeout
        self._keep = keep
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asking: asyncio.Task[Readings] | None = None
        self._asked_at = 0.0

    def start(self) -> None:
        """Be part of what is scraped; to be called in the event loop."""
        self._loop = asyncio.get_running_loop()
        REGISTRY.register(self)

    def stop(self) -> None:
        """Be no part of it any more."""
        if self._loop is not None:
            self._loop = None
            REGISTRY.unregister(self)

    def describe(self) -> Iterable[Metric]:
        """The families, without values: nothing is asked for when this is registered."""
        return [_metric(family, ()) for family in (self._up, *self._families)]

    def collect(self) -> Iterable[Metric]:
        """What `ask` answers; called in the listener's thread."""
        readings = self._answer()
        yield _metric(self._up, [Reading((), float(readings is not None))])
        for family in self._families if readings is not None else ():
            yield _metric(family, (readings or {}).get(family, ()))

    def _answer(self) -> Readings | None:
        loop = self._loop
        if loop is None:
            return None
        try:
            asked = asyncio.run_coroutine_threadsafe(self._fresh(), loop)
        except RuntimeError:
            # The loop has been closed since.
            return None
        try:
            # Longer than the asking itself may take: then the loop is too busy to say so.
            return asked.result(self._timeout + 1.0)
        except concurrent.futures.TimeoutError:
            asked.cancel()
            log.warning("gauges_not_read", cause=f"no answer in {self._timeout:g} s")
        except concurrent.futures.CancelledError:
            log.debug("gauges_not_read", cause="stopping")
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not cost the other metrics
            log.warning("gauges_not_read", cause=type(error).__name__)
        return None

    async def _fresh(self) -> Readings:
        now = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and now > self._asked_at + self._keep):
            self._asking = asyncio.ensure_future(self._ask_now())
            self._asked_at = now
        # Shielded: who gives up waiting does not take the answer from the others.
        return await asyncio.shield(self._asking)

    async def _ask_now(self) -> Readings:
        async with asyncio.timeout(self._timeout):
            return await self._ask()


def _metric(family: Family, readings: Iterable[Reading]) -> Metric:
    metric = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for reading in readings:
        metric.add_metric(reading.labels, reading.value)
    return metric
